// What a guest with ACPI is told of its lost pages, as the simulator plays it: the test reads and answers the records as the
// guest's kernel would. kvm/linux-notifications.spec.ts has real ones.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { type SimulatedStep, simulated, Vm, type VmEvent, type VmOptions } from 'seawall'
import { kernelImage } from './kernel-image.ts'

const MIB = 2 ** 20
const MEMORY = 16 * MIB
const RAM = 0x8000_0000n
const PAGE = 0x8010_0000n
const OTHER = 0x8010_1000n
/** What PSTATE says of the guest's kernel. */
const EL1H = 5n
const sea = (gpa: bigint, pstate = 0n): SimulatedStep => ({ step: 'sea', esr: 0x9200_0010n, gpa, pstate })

const folder = mkdtempSync(join(tmpdir(), 'seawall-notifications-'))
test.after.always(() => rmSync(folder, { recursive: true }))
const kernel = join(folder, 'Image')
writeFileSync(kernel, kernelImage({ size: MIB }))

async function create(script: SimulatedStep[], memoryFailure: VmOptions['memoryFailure'] = {}) {
  const vm = await Vm.create({
    memory: MEMORY,
    boot: { type: 'linux', kernel },
    backend: simulated({ script: [[...script, { step: 'spin' }]] }),
    memoryFailure,
  })
  const told = vm.events()
  const until = async (is: (event: VmEvent) => boolean): Promise<VmEvent> => {
    for (let { value, done } = await told.next(); !done; { value, done } = await told.next()) {
      if (is(value)) return value
    }
    throw new Error('Expected an event but found the end')
  }
  return { vm, until, sources: sourcesOf(vm) }
}

interface Source {
  readonly ack: bigint
  readonly block: bigint
}

/** The error sources, where the HEST says that they are; none where there is no HEST. */
function sourcesOf(vm: Vm): { sea: Source; gsiv: Source } | undefined {
  const start = RAM + BigInt(MEMORY - 4 * MIB)
  const memory = vm.memory.read(start, 4 * MIB)
  const hest = memory.indexOf('HEST')
  if (hest < 0) return undefined
  const source = (index: number): Source => {
    const entry = hest + 40 + 92 * index
    const register = memory.readBigUInt64LE(entry + 24)
    const block = memory.readBigUInt64LE(Number(register - start))
    return { ack: memory.readBigUInt64LE(entry + 68), block }
  }
  return { sea: source(0), gsiv: source(1) }
}

/** The pages of a source's record, and then the answer that they were read. */
function readRecord(vm: Vm, { ack, block }: Source): bigint[] {
  const record = vm.memory.read(block, 4096)
  const count = record.readUInt32LE(0) >> 4
  const pages = Array.from({ length: count }, (_, index) =>
    record.readBigUInt64LE(20 + 152 * index + 72 + 16),
  )
  vm.memory.write(block, new Uint8Array(4))
  vm.memory.write(ack, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0))
  return pages
}

const isFailure = ({ type }: VmEvent) => type === 'memory-failure'
const isRetired = (event: VmEvent) =>
  event.type === 'page-state-changed' && event.page.state === 'guest-retired'

test('an application gets its abort with a record, and its page is retired when that is read', async (t) => {
  const { vm, until, sources } = await create([sea(PAGE)])
  await using _vm = vm
  await vm.start()
  t.like(await until(isFailure), {
    gpa: PAGE,
    action: 'inject',
    notified: { source: 'sea', acked: null },
    injection: { result: 'ok' },
  })
  t.is(vm.poisonedPages()[0]?.state, 'quarantined')
  t.deepEqual(sources && readRecord(vm, sources.sea), [PAGE])
  t.like(await until(isRetired), { page: { gpa: PAGE }, from: 'quarantined' })
})

test('what is known in advance is told in one record, and to who was paused too', async (t) => {
  const { vm, until, sources } = await create([])
  await using _vm = vm
  await vm.start()
  await vm.pause()
  await vm.reportPoison(PAGE, 8192)
  t.like(await until(isFailure), { gpa: PAGE, action: 'ignore', notified: { source: 'gsiv', acked: null } })
  const pages: bigint[] = []
  await vm.resume()
  while (sources && pages.length < 2) {
    pages.push(...readRecord(vm, sources.gsiv))
    await until(isRetired)
  }
  t.deepEqual(pages.sort(), [PAGE, OTHER])
})

test('the guest’s kernel gets time, and its abort when nobody reads', async (t) => {
  const { vm, until } = await create([sea(PAGE, EL1H)], {
    deferMs: 50,
  })
  await using _vm = vm
  await vm.start()
  t.like(await until(isFailure), {
    action: 'defer',
    consumer: { mode: 'kernel' },
    notified: { source: 'gsiv', acked: null },
    injection: null,
  })
  t.like(await until(isFailure), {
    action: 'inject',
    deferral: { outcome: 'deadline' },
    injection: { result: 'ok' },
  })
})

test('a guest that is not told finds no error sources', async (t) => {
  const { vm, until, sources } = await create([sea(PAGE)], { notifyGuest: 'none' })
  await using _vm = vm
  t.is(sources, undefined)
  await vm.start()
  t.like(await until(isFailure), { action: 'inject', notified: null })
})
