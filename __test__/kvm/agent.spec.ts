// A Linux guest without ACPI and its agent (agent/retire-pages.c): what it is asked, what its kernel does, and what happens where
// it does not answer. The tests of the first guest come in this order: what one leaves behind is what the next one finds. There is one guest at a time.
import test, { type ExecutionContext } from 'ava'
import type { VmOptions } from 'seawall'
import { COMMAND_LINE, INITRD, KERNEL, LinuxGuest } from '../../scripts/linux-guest.ts'
import { zap } from '../../scripts/zap.ts'
import { Injector } from './injector.ts'

const PAGE = 4096n
const SIGBUS = '7'
const [BUS_OBJERR, BUS_MCEERR_AR] = ['3', '4']
const SIGKILL = '9'
const SIGCONT = '18'
const SIGSTOP = '19'
/** The guest is asked for much, by an emulated host that may be busy; AVA's own limit is for all tests alike. */
const LIMIT_MS = 900_000
/** Much more than an agent needs on an emulated machine. */
const DEFER_MS = 20_000

function boot({ deferMs = DEFER_MS, ...options }: Partial<VmOptions> & { deferMs?: number } = {}) {
  const boot = {
    type: 'linux',
    kernel: KERNEL,
    initrd: INITRD,
    cmdline: COMMAND_LINE,
    acpi: false,
  } as const
  const memoryFailure = { notifyGuest: 'agent', deferMs } as const
  return LinuxGuest.boot({ boot, memoryFailure, ...options })
}

interface Victim {
  readonly gva: bigint
  readonly gpa: bigint
}

/** Starts a process with a page of its own. */
async function start(guest: LinuxGuest, use: 'load' | 'write'): Promise<Victim> {
  guest.failures.length = 0
  guest.send(`victim ${use}`)
  const { fields } = await guest.report('victim', { state: 'ready' })
  return { gva: BigInt(fields['gva'] ?? 0), gpa: BigInt(fields['gpa'] ?? 0) }
}

/** Has the process use its page, of which the memory is bad. */
async function lose({ gpa }: Victim, guest: LinuxGuest): Promise<void> {
  using injector = new Injector()
  injector.arm('fsc=0x10 count=1', gpa, PAGE)
  await zap(gpa)
  guest.send('go')
  await guest.until('a memory error', () => guest.failures.length > 0 || undefined)
}

async function isKilled(t: ExecutionContext, guest: LinuxGuest, { gva }: Victim, code = BUS_MCEERR_AR) {
  const { fields } = await guest.report('signal', { program: 'victim' })
  t.like(fields, { number: SIGBUS, code })
  if (code === BUS_MCEERR_AR) t.is(BigInt(fields['address'] ?? 0) & -PAGE, gva)
  await guest.report('ended', { program: 'victim' })
}

/** Waits until the agent's kernel has retired a page. */
async function isRetired(guest: LinuxGuest, { gpa }: Victim): Promise<void> {
  const page = () => guest.vm.poisonedPages().find((page) => page.gpa === gpa)
  const limit = AbortSignal.timeout(LIMIT_MS / 2)
  while (page()?.state !== 'guest-retired') {
    limit.throwIfAborted()
    await guest.ask('ping', 'pong')
  }
}

async function corruptedKib(guest: LinuxGuest): Promise<number> {
  return Number((await guest.ask('memory', 'memory')).fields['corrupted_kib'])
}

/**
 * The access ran again until the page was retired. Where its task moves to the other vCPU meanwhile, that is an access of the
 * other's, too.
 */
async function isDeferred(
  t: ExecutionContext,
  guest: LinuxGuest,
  { gpa }: Victim,
  mode: 'user' | 'kernel',
): Promise<void> {
  const ends = () => guest.failures.filter(({ deferral }) => deferral !== null)
  await guest.until(
    'the end of every deferral',
    () => guest.failures.length === 2 * ends().length || undefined,
  )
  for (const failure of guest.failures) {
    const notified = { source: 'agent' } as const
    t.like(failure, { action: 'defer', gpa, consumer: { mode }, notified, injection: null })
  }
  for (const { notified, deferral } of ends()) {
    t.like({ notified, deferral }, { notified: { acked: true }, deferral: { outcome: 'retired' } })
    t.log(`${deferral?.retries} tries in ${deferral?.ms.toFixed(0)} ms`)
  }
  t.is(guest.failures[0]?.source, 'sea')
}

let booting: Promise<LinuxGuest> | undefined
test.after.always(async () => await (await booting)?.vm.close())

async function theGuest(t: ExecutionContext): Promise<LinuxGuest> {
  t.timeout(LIMIT_MS)
  booting ??= boot({ vcpus: 2 })
  return await booting
}

test.serial('a page that is lost before the agent runs is retired when it starts', async (t) => {
  const guest = await theGuest(t)
  const victim = await start(guest, 'load')
  await guest.vm.reportPoison(victim.gpa, 1)
  t.like(guest.failures, [{ source: 'reported', action: 'ignore', notified: null }])
  await guest.ask('agent', 'agent')
  await isRetired(guest, victim)
  t.is(await corruptedKib(guest), 4)
  guest.send('go')
  await isKilled(t, guest, victim)
  t.is(guest.failures.length, 1, 'nobody has touched the page')
})

test.serial('an application that needs a lost page gets its signal from a kernel that knows', async (t) => {
  const guest = await theGuest(t)
  const victim = await start(guest, 'load')
  await lose(victim, guest)
  await isKilled(t, guest, victim)
  await isDeferred(t, guest, victim, 'user')
  t.is(await corruptedKib(guest), 8)
})

test.serial('write(2) of a lost page is EFAULT, and no oops', async (t) => {
  const guest = await theGuest(t)
  const victim = await start(guest, 'write')
  await lose(victim, guest)
  const { fields } = await guest.report('victim', { state: 'survived' })
  t.like(fields, { written: '-1', errno: 'EFAULT' })
  await isDeferred(t, guest, victim, 'kernel')
  await guest.report('ended', { program: 'victim' })
  t.is(await corruptedKib(guest), 12)
})

test.serial('an agent that is started again is asked again', async (t) => {
  const guest = await theGuest(t)
  await guest.ask(`agent ${SIGKILL}`, 'agent')
  await guest.report('ended', { program: 'retire-pages' })
  const victim = await start(guest, 'load')
  await guest.vm.reportPoison(victim.gpa, 1)
  await guest.ask('agent', 'agent')
  await isRetired(guest, victim)
  guest.send('go')
  await isKilled(t, guest, victim)
  t.is(await corruptedKib(guest), 16)
  t.notRegex(guest.console, /Internal error|Oops/)
  // What is done to a page of one guest would be done to the same page of another one in this process.
  await guest.vm.close()
})

test.serial(
  'an agent that does not answer is waited for, then the abort comes; what it answers later counts',
  async (t) => {
    t.timeout(LIMIT_MS)
    // It counts as silent after five seconds.
    await using guest = await boot({ vcpus: 1, deferMs: 6000 })
    const first = await start(guest, 'load')
    await guest.vm.reportPoison(first.gpa, 1)
    await guest.ask('agent', 'agent')
    await isRetired(guest, first)
    guest.send('go')
    await isKilled(t, guest, first)
    await guest.ask(`agent ${SIGSTOP}`, 'agent')
    const victim = await start(guest, 'load')
    await lose(victim, guest)
    await isKilled(t, guest, victim, BUS_OBJERR)
    t.like(guest.failures, [
      { action: 'defer', gpa: victim.gpa, notified: { source: 'agent', acked: null }, injection: null },
      {
        action: 'inject',
        gpa: victim.gpa,
        notified: { source: 'agent', acked: false },
        deferral: { outcome: 'deadline' },
        injection: { result: 'ok' },
      },
    ])
    await guest.ask(`agent ${SIGCONT}`, 'agent')
    await isRetired(guest, victim)
    t.is(await corruptedKib(guest), 8)
  },
)

test.serial('a guest without its agent is as one that is not told', async (t) => {
  t.timeout(LIMIT_MS)
  await using guest = await boot({ vcpus: 1 })
  const victim = await start(guest, 'load')
  await lose(victim, guest)
  await isKilled(t, guest, victim, BUS_OBJERR)
  t.like(guest.failures[0], { action: 'inject', gpa: victim.gpa, notified: null, deferral: null })
  t.is(guest.vm.poisonedPages()[0]?.state, 'quarantined')
})
