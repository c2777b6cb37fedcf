// Memory errors in a running Linux guest, on pages that matter more than others. One guest for all, in this order: what a
// test leaves behind is what the next one finds.
import test, { type ExecutionContext } from 'ava'
import type { Vcpu } from 'seawall'
import { LinuxGuest } from '../../scripts/linux-guest.ts'
import { zap } from '../../scripts/zap.ts'
import { Injector } from './injector.ts'
import { type Translation, translate } from './translation.ts'

const PAGE = 4096n
const SIGBUS = '7'
const SIGKILL = '9'
const BUS_MCEERR_AR = '4'
/** The guest is asked for much, by an emulated host that may be busy; AVA's own limit is for all tests alike. */
const LIMIT_MS = 600_000
/** What the product gives a vCPU to leave the guest. */
const STEP_LIMIT_MS = 10_000

let booting: Promise<LinuxGuest> | undefined
test.after.always(async () => await (await booting)?.vm.close())

/** The guest, after its boot; with no failures that an earlier test has seen. */
async function theGuest(t: ExecutionContext): Promise<LinuxGuest> {
  t.timeout(LIMIT_MS)
  booting ??= LinuxGuest.boot({ vcpus: 2, onReset: 'restart' })
  const guest = await booting
  guest.failures.length = 0
  return guest
}

interface Page {
  readonly gva: bigint
  readonly gpa: bigint
}

/** Waits for a victim that is ready. */
async function ready(guest: LinuxGuest): Promise<Page> {
  const { fields } = await guest.report('victim', { state: 'ready' })
  return { gva: BigInt(fields['gva'] ?? 0), gpa: BigInt(fields['gpa'] ?? 0) }
}

/** Lets a process spin, and pauses the guest while a vCPU runs it in user mode. */
async function spin(guest: LinuxGuest): Promise<Translation & { vcpu: Vcpu }> {
  guest.send('victim spin')
  const { gva, gpa } = await ready(guest)
  guest.send('go')
  for (let attempt = 0; attempt < 100; attempt += 1) {
    await guest.vm.pause()
    for (const vcpu of guest.vm.vcpus) {
      if (((await vcpu.getRegister('pstate')) & 0xfn) !== 0n) continue
      const translation = await translate(guest.vm, vcpu, gva)
      if (translation?.gpa === gpa) return { ...translation, vcpu }
    }
    await guest.vm.resume()
  }
  throw new Error('Expected a vCPU that runs the victim in user mode but found none in 100 pauses')
}

async function getsOn(t: ExecutionContext, guest: LinuxGuest): Promise<void> {
  const count = async () => Number((await guest.ask('bystander', 'bystander')).fields['count'])
  const before = await count()
  await guest.ask('ping it', 'pong')
  t.true((await count()) > before)
}

test.serial('a process whose page table is lost is killed, and nothing else', async (t) => {
  const guest = await theGuest(t)
  const { tables } = await spin(guest)
  const table = tables.at(-1)
  t.is(table?.level, 3)
  using injector = new Injector()
  injector.arm('fsc=0x17 count=1', table?.gpa, PAGE)
  await zap(table?.gpa ?? 0n)
  await guest.vm.resume()
  t.like(await guest.report('ended', { program: 'victim' }), { fields: { signal: SIGKILL } })
  t.like(guest.failures, [
    {
      abort: { kind: 'data', cause: 'external-table-walk', walkLevel: 3 },
      gpa: null,
      consumer: { mode: 'user' },
      injection: { result: 'ok' },
    },
  ])
  await getsOn(t, guest)
  t.is(guest.failures.length, 1)
})

test.serial('two processes on two vCPUs lose their pages at the same moment, and nobody else', async (t) => {
  const guest = await theGuest(t)
  guest.send('victim load 2')
  const pages = [await ready(guest), await ready(guest)]
  t.not(pages[0]?.gpa, pages[1]?.gpa)
  using injector = new Injector()
  for (const { gpa } of pages) {
    injector.arm('fsc=0x10 count=1', gpa, PAGE)
    await zap(gpa)
  }
  guest.send('go')
  for (const _ of pages) {
    t.like(await guest.report('ended', { program: 'victim' }), { fields: { signal: SIGBUS } })
  }
  // While the guest's kernel still reads the record of one page, the other one's process is told by interrupt, and waits.
  const first = pages.map(({ gpa }) => guest.failures.find((failure) => failure.gpa === gpa))
  for (const [index, { gva }] of pages.entries()) {
    t.like(first[index], { source: 'sea', gva, consumer: { mode: 'user' } })
    t.not(first[index]?.notified, null)
  }
  t.log(`${Math.abs(Number((first[0]?.monotonicNs ?? 0n) - (first[1]?.monotonicNs ?? 0n))) / 1e6} ms apart`)
  t.deepEqual(first.map((failure) => failure?.vcpu).sort(), [0, 1])
  t.is((await guest.ask('memory', 'memory')).fields['corrupted_kib'], '8')
  const byPage = (a: { gpa: bigint }, b: { gpa: bigint }) => Number(a.gpa - b.gpa)
  t.deepEqual(
    guest.vm
      .poisonedPages()
      .map(({ gpa, state }) => ({ gpa, state }))
      .sort(byPage),
    pages.map(({ gpa }) => ({ gpa, state: 'guest-retired' })).sort(byPage),
  )
  await guest.ask('ping it', 'pong')
})

test.serial('a guest that reboots has fresh memory in the place of what it lost', async (t) => {
  const guest = await theGuest(t)
  const lost = guest.vm.poisonedPages().map(({ gpa }) => gpa)
  t.true(lost.length > 0)
  const resets: bigint[] = []
  guest.vm.on('guest-reset', ({ monotonicNs }) => resets.push(monotonicNs))
  guest.send('reboot')
  await guest.report('ready')
  t.is(resets.length, 1)
  t.is(guest.vm.state, 'running')
  // On its way to the reset the guest may have met a lost page once more.
  const before = guest.failures.length
  t.deepEqual(
    guest.vm.poisonedPages().map(({ gpa, state }) => ({ gpa, state })),
    lost.map((gpa) => ({ gpa, state: 'replaced' })),
  )
  // Nearly all memory is used, and none of it is bad.
  guest.send('stress 4 2')
  t.like(await guest.report('stress', { state: 'done' }), { fields: { well: '6', badly: '0', never: '0' } })
  t.is(guest.failures.length, before)
})

test.serial('a busy guest is paused, looked at and resumed, again and again, and gets on', async (t) => {
  const guest = await theGuest(t)
  const { vm } = guest
  guest.send('stress 40 2')
  await guest.report('stress', { state: 'started' })
  const longest = { pause: 0, registers: 0, memory: 0, resume: 0 }
  const step = async (name: keyof typeof longest, take: () => unknown) => {
    const began = performance.now()
    await take()
    longest[name] = Math.max(longest[name], performance.now() - began)
  }
  for (let round = 0; round < 20; round += 1) {
    await step('pause', () => vm.pause())
    await step('registers', async () => {
      for (const vcpu of vm.vcpus) {
        for (let x = 0; x <= 30; x += 1) await vcpu.getRegister(`x${x}`)
        const mode = (await vcpu.getRegister('pstate')) & 0xfn
        t.true([0n, 4n, 5n].includes(mode), `mode ${mode}`)
        t.not(await vcpu.getRegister('pc'), 0n)
      }
    })
    await step('memory', () =>
      t.is(vm.memory.read(0x8000_0038n, 2 ** 20).toString('latin1', 0, 4), 'ARM\x64'),
    )
    await step('resume', () => vm.resume())
    await getsOn(t, guest)
  }
  t.log(JSON.stringify(longest))
  for (const ms of Object.values(longest)) t.true(ms < STEP_LIMIT_MS, JSON.stringify(longest))
  t.like(await guest.report('stress', { state: 'done' }), { fields: { well: '42', badly: '0', never: '0' } })
  t.deepEqual(guest.failures, [])
})

test.serial(
  'a process that loses the page of its running instruction is killed, and nothing else',
  async (t) => {
    const guest = await theGuest(t)
    const { vcpu } = await spin(guest)
    const pc = await vcpu.getRegister('pc')
    const gpa = ((await translate(guest.vm, vcpu, pc))?.gpa ?? 0n) & -PAGE
    using injector = new Injector()
    injector.arm('fsc=0x10 count=1', gpa, PAGE)
    await zap(gpa)
    await guest.vm.resume()
    t.like(await guest.report('signal', { program: 'victim' }), {
      fields: { number: SIGBUS, code: BUS_MCEERR_AR },
    })
    t.like(await guest.report('ended', { program: 'victim' }), { fields: { signal: SIGBUS } })
    t.like(guest.failures, [
      {
        source: 'sea',
        abort: { kind: 'instruction' },
        gpa,
        consumer: { mode: 'user' },
        injection: { result: 'ok' },
      },
    ])
    t.is((guest.failures[0]?.gva ?? 0n) & -PAGE, pc & -PAGE)
    await getsOn(t, guest)
    t.is(guest.failures.length, 1)
  },
)

test.serial('a guest whose kernel loses its page table is lost, and nothing else', async (t) => {
  const guest = await theGuest(t)
  const { vm } = guest
  await vm.pause()
  const [vcpu] = vm.vcpus
  if (vcpu === undefined) throw new Error('Expected a vCPU but found none')
  const table = (await translate(vm, vcpu, await vcpu.getRegister('vbar_el1')))?.tables[0]
  t.is(table?.level, 0)
  using injector = new Injector()
  injector.arm('fsc=0x14', table?.gpa, PAGE)
  await zap(table?.gpa ?? 0n)
  await vm.resume()
  // The handler of aborts is found by the same table, so that the guest cannot even panic.
  t.is((await guest.finish()).reason, 'policy')
  const { length } = guest.failures
  t.log(`${length} failures`)
  for (const { consumer, gpa } of guest.failures)
    t.like({ consumer, gpa }, { consumer: { mode: 'kernel' }, gpa: null })
})
