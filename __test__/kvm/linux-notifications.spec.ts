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

/**
 * Lets a process of the guest lose the page that it uses. The memory is bad for `count` accesses, with 0 for all. The page is one
 * of many that the process gives back when it ends: a kernel that was not told would use a single one again at once.
 */
async function lose(
  guest: LinuxGuest,
  use: 'load' | 'write',
  count = 1,
): Promise<{ gpa: bigint; end: Report; errors: bigint }> {
  using injector = new Injector()
  const { fields } = await guest.ask(`victim ${use} 1 1 1024`, 'victim')
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

async function isRetired(guest: LinuxGuest, gpa: bigint): Promise<void> {
  const isSo = () => state(guest, gpa) === 'guest-retired' || undefined
  await guest.until(`page 0x${gpa.toString(16)} to be retired`, isSo)
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

// An untold kernel gives the lost page away again, so that each guest loses one.
test.serial(
  'a guest that was booted with acpi=off reads no record with its abort, and goes on',
  async (t) => {
    t.timeout(LIMIT_MS)
    await using guest = await LinuxGuest.boot({ boot: boot({ cmdline: `${COMMAND_LINE} acpi=off` }) })
    const failed = listen(guest)
    const { gpa, end } = await lose(guest, 'load')
    t.is(end.fields['signal'], SIGBUS)
    t.is((await guest.report('signal')).fields['code'], BUS_OBJERR)
    t.like(guest.failures, [{ gpa, notified: { source: 'sea', acked: null }, injection: { result: 'ok' } }])
    t.is(guest.failures.length, 1)
    await guest.until('a source that fails', () => failed.length > 0 || undefined, 10 * SILENCE_MS)
    t.like(failed, [{ source: 'sea', reason: 'unread' }])
    t.is(state(guest, gpa), 'quarantined')
    await isAlive(t, guest)
  },
)

for (const [parameter, quarantine] of [
  ['acpi=off', true],
  ['hest_disable', false],
] as const) {
  const where = quarantine ? 'quarantined' : 'poisoned'
  test.serial(
    `a kernel with ${parameter} gets the abort for its ${where} page late, and goes on`,
    async (t) => {
      t.timeout(LIMIT_MS)
      await using guest = await LinuxGuest.boot({
        boot: boot({ cmdline: `${COMMAND_LINE} ${parameter}` }),
        // Enough for tries on a busy machine, and less than a record may stay unread.
        memoryFailure: { quarantine, deferMs: 2000 },
      })
      const failed = listen(guest)
      const { gpa, end, errors } = await lose(guest, 'write', quarantine ? 1 : 0)
      t.is(end.fields['signal'], SIGSEGV)
      t.like(guest.failures, [
        { gpa, action: 'defer', notified: { source: 'gsiv', acked: null }, injection: null },
        {
          gpa,
          action: 'inject',
          deferral: { outcome: 'deadline' },
          notified: { source: 'gsiv', acked: null },
          injection: { result: 'ok' },
        },
      ])
      t.is(guest.failures.length, 2)
      // In quarantine the access consumes nothing when it runs again; without, it consumes the error each time.
      const retries = guest.failures.at(-1)?.deferral?.retries ?? 0
      t.log(`${retries} retries, ${errors} errors consumed`)
      t.true(retries > 0)
      t.true(quarantine ? errors === 1n : errors > retries)
      await guest.until('a source that fails', () => failed.length > 0 || undefined, 10 * SILENCE_MS)
      t.like(failed, [{ source: 'gsiv', reason: 'unread' }])
      t.is(state(guest, gpa), where)
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
  await using guest = await LinuxGuest.boot({
    boot: boot(),
    memory: MEMORY,
    vcpus: 2,
    onReset: 'restart',
  })
  const { vm } = guest
  const failed = listen(guest)
  const rebooted = async () => {
    await guest.report('ready')
    t.true(vm.poisonedPages().every((page) => page.state === 'replaced'))
    failed.length = 0
  }
  const { acks, blocks } = region(guest)
  t.true([...acks, ...blocks].every((gpa) => gpa > RAM && gpa < RAM + BigInt(MEMORY)))

  // What the guest could write there as well.
  for (const gpa of [...acks, ...blocks]) vm.memory.write(gpa, new Uint8Array(8).fill(0xff))
  const spoiled = await lose(guest, 'load')
  t.is(spoiled.end.fields['signal'], SIGBUS)
  t.true(guest.failures.every(({ notified }) => notified?.acked !== true))
  t.like(guest.failures.at(-1), { gpa: spoiled.gpa, injection: { result: 'ok' } })
  t.is(state(guest, spoiled.gpa), 'quarantined')
  await isAlive(t, guest)
  guest.send('reboot')
  await rebooted()

  // The guest's kernel meets an error in the memory of the records when it looks for that of an application's abort. Nothing is
  // lost of it: it is written anew, in fresh memory.
  const [block = 0n, ...others] = blocks
  using records = new Injector()
  records.arm('fsc=0x10 count=1', block, PAGE)
  await zap(block)
  const late = await lose(guest, 'load')
  t.is(late.end.fields['signal'], SIGBUS)
  await isRetired(guest, late.gpa)
  t.like(guest.failures, [
    { gpa: late.gpa, action: 'inject', notified: { source: 'sea' } },
    {
      gpa: block,
      action: 'resume',
      consumer: { mode: 'kernel' },
      page: { state: 'replaced' },
      injection: null,
    },
  ])

  // The same before anybody meets it.
  for (const gpa of [...others, ...acks]) await vm.reportPoison(gpa, 8)
  t.true([...blocks, ...acks].every((gpa) => state(guest, gpa & -PAGE) === 'replaced'))
  const told = await lose(guest, 'load')
  t.is(told.end.fields['signal'], SIGBUS)
  await isRetired(guest, told.gpa)
  t.like(guest.failures, [{ gpa: told.gpa, notified: { source: 'sea' }, injection: { result: 'ok' } }])
  t.is((await guest.ask('memory', 'memory')).fields['corrupted_kib'], '8')
  await isAlive(t, guest)
  t.deepEqual(failed, [])

  // A record is written and not read when the guest boots again.
  const { fields } = await guest.ask('victim load', 'victim')
  const unread = BigInt(fields['gpa'] ?? 0)
  await vm.pause()
  await vm.reportPoison(unread, 1)
  t.is(state(guest, unread), 'quarantined')
  t.like(guest.failures.at(-1), { gpa: unread, notified: { source: 'gsiv', acked: null } })
  guest.send('reboot')
  await vm.resume()
  await rebooted()

  // After all that it is told as any other.
  const last = await lose(guest, 'load')
  t.is(last.end.fields['signal'], SIGBUS)
  await isRetired(guest, last.gpa)
  t.like(guest.failures, [{ gpa: last.gpa, notified: { source: 'sea' }, injection: { result: 'ok' } }])
  t.is((await guest.ask('memory', 'memory')).fields['corrupted_kib'], '4')
  await isAlive(t, guest)
  t.deepEqual(failed, [])
})

test.serial('a guest that boots again while an access of its kernel waits starts anew', async (t) => {
  t.timeout(LIMIT_MS)
  await using guest = await LinuxGuest.boot({
    boot: boot({ cmdline: `${COMMAND_LINE} acpi=off` }),
    vcpus: 2,
    onReset: 'restart',
    // Longer than the guest needs to come to its reset.
    memoryFailure: { deferMs: 60_000 },
  })
  using injector = new Injector()
  const { fields } = await guest.ask('victim write', 'victim')
  const gpa = BigInt(fields['gpa'] ?? 0)
  injector.arm('fsc=0x10 count=1', gpa, PAGE)
  await zap(gpa)
  guest.send('go')
  await guest.until('a memory error', () => guest.failures.length > 0 || undefined)
  guest.send('reboot')
  await guest.report('ready')
  t.like(guest.failures[0], { gpa, action: 'defer', notified: { source: 'gsiv' } })
  t.true(guest.failures.every(({ injection }) => injection === null))
  t.is(state(guest, gpa), 'replaced')
  await isAlive(t, guest)
})
