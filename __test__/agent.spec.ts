// The agent of a guest that boots without ACPI, as the simulator plays it: which options there are for it, and what is asked and
// believed. kvm/agent.spec.ts has a real one.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { type SimulatedStep, simulated, Vm, type VmEvent, type VmOptions } from 'seawall'
import { kernelImage } from './kernel-image.ts'

const MIB = 2 ** 20
const AGENT = 0x4000_3000n
const PAGE = 0x8010_0000n
const OTHER = 0x8010_1000n
const DATA_ABORT = 0x9200_0010n

const folder = mkdtempSync(join(tmpdir(), 'seawall-agent-'))
test.after.always(() => rmSync(folder, { recursive: true }))
const kernel = join(folder, 'Image')
writeFileSync(kernel, kernelImage({ size: MIB }))
const linux = { type: 'linux', kernel, acpi: false } as const
const flat = { type: 'flat', image: new Uint8Array(4) } as const

/** The guest says a line to the monitor. */
const say = (line: string): SimulatedStep[] =>
  [...Buffer.from(`${line}\n`)].map((byte) => ({
    step: 'mmio-write',
    gpa: AGENT,
    data: Uint8Array.of(byte),
  }))
/** It consumes an error, in user mode. */
const sea = (gpa: bigint): SimulatedStep => ({ step: 'sea', esr: DATA_ABORT, gpa })

/** A guest and what it has told so far. */
async function create(
  script: SimulatedStep[],
  memoryFailure: VmOptions['memoryFailure'] = {},
): Promise<{ vm: Vm; events: VmEvent[]; until: (is: (event: VmEvent) => boolean) => Promise<VmEvent> }> {
  const vm = await Vm.create({
    memory: 16 * MIB,
    boot: linux,
    backend: simulated({ script: [[...script, { step: 'spin' }]] }),
    memoryFailure: { notifyGuest: 'agent', ...memoryFailure },
  })
  const events: VmEvent[] = []
  const told = vm.events()
  const until = async (is: (event: VmEvent) => boolean) => {
    for (let { value, done } = await told.next(); !done; { value, done } = await told.next()) {
      events.push(value)
      if (is(value)) return value
    }
    throw new Error('Expected an event but found the end')
  }
  return { vm, events, until }
}

const isFailure = ({ type }: VmEvent) => type === 'memory-failure'
const isPaused = (event: VmEvent) => event.type === 'state-changed' && event.to === 'paused'
const isRetired = (event: VmEvent) =>
  event.type === 'page-state-changed' && event.page.state === 'guest-retired'

for (const [way, boot, expected] of [
  ['agent', flat, "'none', where the guest is booted from a flat image,"],
  ['ghes', flat, "'none', where the guest is booted from a flat image,"],
  ['agent', { ...linux, acpi: true }, "'ghes' or 'none', where the guest is booted with ACPI,"],
  ['ghes', linux, "'agent' or 'none', where the guest is booted without ACPI,"],
] as const) {
  test(`${way} is refused for ${boot.type}${'acpi' in boot ? ` with acpi: ${boot.acpi}` : ''}`, async (t) => {
    const message = `Expected ${expected} for memoryFailure.notifyGuest but received "${way}"`
    const options = {
      memory: 16 * MIB,
      boot,
      backend: simulated({ script: [] }),
      memoryFailure: { notifyGuest: way },
    }
    await t.throwsAsync(() => Vm.create(options), { code: 'ERR_INVALID_OPTION', message })
  })
}

test('a page that the agent retires is guest-retired, and one that it does not is not', async (t) => {
  const answers = [...say(`retired 0x${PAGE.toString(16)} 0`), ...say(`retired 0x${OTHER.toString(16)} 16`)]
  // The pause is where the pages are reported, and the guest then goes on to the answers.
  const script = [...say('hello 1'), sea(0x8020_0000n), ...answers, ...say('retired 0x80200000 0')]
  const { vm, until } = await create(script, { recoverable: 'pause' })
  await using _vm = vm
  await vm.start()
  await until(isPaused)
  await vm.reportPoison(PAGE, 8192)
  await vm.resume()
  const retired = await until(isRetired)
  t.like(retired, { page: { gpa: PAGE, state: 'guest-retired' }, from: 'quarantined' })
  await until((event) => event !== retired && isRetired(event))
  const states = new Map(vm.poisonedPages().map(({ gpa, state }) => [gpa, state]))
  t.is(states.get(OTHER), 'quarantined')
})

test('without an agent the abort comes at once, and nobody was told', async (t) => {
  const { vm, until } = await create([sea(PAGE)], { deferMs: 60_000 })
  await using _vm = vm
  await vm.start()
  t.like(await until(isFailure), { action: 'inject', notified: null, deferral: null, gpa: PAGE })
})

test('an agent that does not answer is waited for up to deferMs', async (t) => {
  const { vm, until } = await create([...say('hello 1'), sea(PAGE)], { deferMs: 50 })
  await using _vm = vm
  await vm.start()
  t.like(await until(isFailure), { action: 'defer', notified: { source: 'agent', acked: null } })
  const second = await until(isFailure)
  t.like(second, {
    action: 'inject',
    notified: { source: 'agent', acked: null },
    deferral: { outcome: 'deadline' },
    injection: { result: 'ok' },
  })
})

test('what the guest says beside that changes nothing', async (t) => {
  const noise = ['', 'hello 2', 'x'.repeat(10_000), `retired 0x${PAGE.toString(16)} 0`, '\0\xff']
  const { vm, events, until } = await create([...noise.flatMap(say), { step: 'shutdown' }])
  await using _vm = vm
  await vm.start()
  await vm.wait()
  await until(({ type }) => type === 'exit')
  t.deepEqual(vm.poisonedPages(), [])
  t.deepEqual(
    events.map(({ type }) => type).filter((type) => !['state-changed', 'exit'].includes(type)),
    [],
  )
})

test('there is no line to an agent where none is asked for', async (t) => {
  const boot = { ...linux }
  const script: SimulatedStep[] = [...say('h').slice(0, 1), { step: 'shutdown' }]
  for (const [notifyGuest, unclaimed] of [
    ['none', 1],
    ['agent', 0],
  ] as const) {
    const backend = simulated({ script: [script] })
    const vm = await Vm.create({ memory: 16 * MIB, boot, backend, memoryFailure: { notifyGuest } })
    let count = 0
    vm.on('unclaimed-access', () => {
      count += 1
    })
    await vm.start()
    await vm.wait()
    await vm.close()
    t.is(count, unclaimed, notifyGuest)
  }
})
