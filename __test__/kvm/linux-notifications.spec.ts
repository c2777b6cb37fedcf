// Linux guests that cannot be told of their lost pages, or spoil it: each stays contained as one that nobody tells, and the
// events say what was not possible.
import test, { type ExecutionContext } from 'ava'
import type { VmEvent, VmOptions } from 'seawall'
import { COMMAND_LINE, INITRD, KERNEL, LinuxGuest, type Report } from '../../scripts/linux-guest.ts'
import { zap } from '../../scripts/zap.ts'
import { Injector } from './injector.ts'

const RAM = 0x8000_0000n
const MEMORY = 256 * 2 ** 20
const PAGE = 4096n
const SIGBUS = '7'
const SIGSEGV = '11'
const BUS_OBJERR = '3'
const BUS_MCEERR_AR = '4'
/** Boots, on an emulated host that may be busy; AVA's own limit is for all tests alike. */
const LIMIT_MS = 600_000
/** How long a guest may leave a record unread. */
const SILENCE_MS = 5000

const boot = (options: { acpi?: boolean; cmdline?: string } = {}): VmOptions['boot'] => ({
  type: 'linux',
  kernel: KERNEL,
  initrd: INITRD,
  cmdline: COMMAND_LINE,
  ...options,
})

/** Lets a process of the guest lose the page that it uses. The memory is bad for `count` accesses, with 0 for all. */
async function lose(
  guest: LinuxGuest,
  use: 'load' | 'write',
  count = 1,
): Promise<{ gpa: bigint; end: Report; errors: bigint }> {
  using injector = new Injector()
  const { fields } = await guest.ask(`victim ${use}`, 'victim')
  const gpa = BigInt(fields['gpa'] ?? 0)
  guest.failures.length = 0
  injector.arm(`fsc=0x10 count=${count}`, gpa, PAGE)
  await zap(gpa)
  const consumed = () => guest.vm.stats().exits['arm-sea'] ?? 0n
  const before = consumed()
  guest.send('go')
  const end = await guest.report('ended', { program: 'victim' })
  return { gpa, end, errors: consumed() - before }
}

async function isAlive(t: ExecutionContext, guest: LinuxGuest): Promise<void> {
  t.is((await guest.ask('ping it', 'pong')).fields['token'], 'it')
  t.is(guest.vm.state, 'running')
}

type Failed = Extract<VmEvent, { type: 'notification-failed' }>

/** Every event that says that the guest is not told. */
function listen(guest: LinuxGuest): Failed[] {
  const told: Failed[] = []
  guest.vm.on('notification-failed', (event) => told.push(event))
  return told
}

const state = (guest: LinuxGuest, gpa: bigint) =>
  guest.vm.poisonedPages().find((page) => page.gpa === gpa)?.state

test.serial('a guest without ACPI gets its abort, and is not told', async (t) => {
  t.timeout(LIMIT_MS)
  await using guest = await LinuxGuest.boot({ boot: boot({ acpi: false }) })
  const failed = listen(guest)
  const { gpa, end } = await lose(guest, 'load')
  t.is(end.fields['signal'], SIGBUS)
  t.is((await guest.report('signal')).fields['code'], BUS_OBJERR)
  t.like(guest.failures, [
    { gpa, action: 'inject', notified: null, deferral: null, injection: { result: 'ok' } },
  ])
  t.is(guest.failures.length, 1)
  t.is(state(guest, gpa), 'quarantined')
  await isAlive(t, guest)
  t.deepEqual(failed, [])
})

for (const [parameter, quarantine] of [
  ['acpi=off', true],
  ['hest_disable', false],
] as const) {
  const where = quarantine ? 'quarantined' : 'poisoned'
  test.serial(
    `a guest that was booted with ${parameter} reads no record, gets its aborts for pages that stay ${where}, and goes on`,
    async (t) => {
      t.timeout(LIMIT_MS)
      await using guest = await LinuxGuest.boot({
        boot: boot({ cmdline: `${COMMAND_LINE} ${parameter}` }),
        memoryFailure: { quarantine },
      })
      const failed = listen(guest)
      const first = await lose(guest, 'load')
      t.is(first.end.fields['signal'], SIGBUS)
      t.is((await guest.report('signal')).fields['code'], BUS_OBJERR)
      t.like(guest.failures, [
        { gpa: first.gpa, notified: { source: 'sea', acked: null }, injection: { result: 'ok' } },
      ])
      await guest.until('a source that fails', () => failed.length > 0 || undefined, 10 * SILENCE_MS)
      t.like(failed, [{ source: 'sea', reason: 'unread' }])
      t.is(state(guest, first.gpa), where)
      await isAlive(t, guest)

      // Its kernel is told by interrupt, does not hear of it either, and gets its abort when the time is over.
      const second = await lose(guest, 'write', quarantine ? 1 : 0)
      t.is(second.end.fields['signal'], SIGSEGV)
      t.like(guest.failures[0], {
        gpa: second.gpa,
        action: 'defer',
        notified: { source: 'gsiv' },
        injection: null,
      })
      t.like(guest.failures.at(-1), {
        gpa: second.gpa,
        action: 'inject',
        deferral: { outcome: 'deadline' },
        notified: { source: 'gsiv' },
        injection: { result: 'ok' },
      })
      t.not(guest.failures.at(-1)?.notified?.acked, true)
      // In quarantine the access consumes nothing when it runs again; without, it consumes the error each time.
      const retries = guest.failures.at(-1)?.deferral?.retries ?? 0
      t.log(`${retries} retries, ${second.errors} errors consumed`)
      t.true(retries > 0)
      t.true(quarantine ? second.errors === 1n : second.errors > retries, `${second.errors}`)
      await guest.until('the other source that fails', () => failed.length > 1 || undefined, 10 * SILENCE_MS)
      t.like(failed[1], { source: 'gsiv', reason: 'unread' })
      t.is(state(guest, second.gpa), where)
      await isAlive(t, guest)
    },
  )
}

/** The pages of the records, where the guest's tables say that they are. */
function region(guest: LinuxGuest): { acks: bigint[]; blocks: bigint[] } {
  const tail = 4 * 2 ** 20
  const start = RAM + BigInt(MEMORY - tail)
  const memory = guest.vm.memory.read(start, tail)
  const hest = memory.indexOf('HEST')
  if (hest < 0) throw new Error('Expected a table HEST at the end of memory but found none')
  const sources = [0, 1].map((index) => hest + 40 + 92 * index)
  const acks = sources.map((source) => memory.readBigUInt64LE(source + 64 + 4))
  const registers = sources.map((source) => memory.readBigUInt64LE(source + 20 + 4))
  return { acks, blocks: registers.map((at) => memory.readBigUInt64LE(Number(at - start))) }
}

test.serial('a guest that spoils its error records hurts itself alone, until it boots again', async (t) => {
  t.timeout(LIMIT_MS)
  await using guest = await LinuxGuest.boot({ boot: boot(), memory: MEMORY, vcpus: 2, onReset: 'restart' })
  const { vm } = guest
  const failed = listen(guest)
  const { acks, blocks } = region(guest)
  t.true([...acks, ...blocks].every((gpa) => gpa > RAM && gpa < RAM + BigInt(MEMORY)))

  // What the guest could write there as well.
  for (const gpa of [...acks, ...blocks]) vm.memory.write(gpa, new Uint8Array(8).fill(0xff))
  const first = await lose(guest, 'load')
  t.is(first.end.fields['signal'], SIGBUS)
  t.true(guest.failures.every(({ notified }) => notified?.acked !== true))
  t.like(guest.failures.at(-1), { gpa: first.gpa, injection: { result: 'ok' } })
  t.is(state(guest, first.gpa), 'quarantined')
  await isAlive(t, guest)

  // The memory of one source is lost.
  failed.length = 0
  for (const gpa of blocks) await vm.reportPoison(gpa, 8)
  await guest.until(
    'two sources that fail',
    () => failed.filter(({ reason }) => reason === 'lost').length > 1 || undefined,
  )
  t.deepEqual(failed.map(({ source }) => source).sort(), ['gsiv', 'sea'])
  const second = await lose(guest, 'load')
  t.is(second.end.fields['signal'], SIGBUS)
  t.like(guest.failures, [{ gpa: second.gpa, notified: null, injection: { result: 'ok' } }])
  await isAlive(t, guest)
  await guest.report('signal')
  await guest.report('signal')

  // A guest that boots again has new ones. The second time it does so in the middle: a record is written, and not read.
  for (const isInTheMiddle of [false, true]) {
    if (isInTheMiddle) {
      const { fields } = await guest.ask('victim load', 'victim')
      const gpa = BigInt(fields['gpa'] ?? 0)
      await vm.pause()
      await vm.reportPoison(gpa, 1)
      t.is(state(guest, gpa), 'quarantined')
      t.like(guest.failures.at(-1), { gpa, notified: { source: 'gsiv', acked: null } })
    }
    guest.send('reboot')
    if (isInTheMiddle) await vm.resume()
    await guest.report('ready')
    t.true(vm.poisonedPages().every((page) => page.state === 'replaced'))
    failed.length = 0
    const { gpa, end } = await lose(guest, 'load')
    t.is(end.fields['signal'], SIGBUS)
    t.is((await guest.report('signal')).fields['code'], BUS_MCEERR_AR)
    await guest.until(
      'a page that the guest retires',
      () => state(guest, gpa) === 'guest-retired' || undefined,
    )
    t.is((await guest.ask('memory', 'memory')).fields['corrupted_kib'], '4')
    await isAlive(t, guest)
    t.deepEqual(failed, [])
  }
})
