import test, { type ExecutionContext } from 'ava'
import { observe } from '../../scripts/blast-radius-observe.ts'
import { GUEST_MEMORY_MIB, type ObservedRow, ROWS, VCPUS } from '../../scripts/blast-radius-recording.ts'
import { complaints } from '../../scripts/guest-complaints.ts'
import { LinuxGuest } from '../../scripts/linux-guest.ts'

const SIGBUS = 7
const SIGSEGV = 11
const BUS_OBJERR = 3
/** A row's own limit is shorter. */
const LIMIT_MS = 900_000

async function run(t: ExecutionContext, id: string, halves: 1 | 2): Promise<ObservedRow> {
  t.timeout(LIMIT_MS)
  const row = ROWS.find((one) => one.id === id)
  if (row === undefined) throw new Error(`there is no row ${id}`)
  const seen = await observe(row, { halves })
  t.log(`${Math.round(seen.seconds)} s`)
  return seen
}

/** Whether the guest answers, and its other processes get on. */
function isAlive(t: ExecutionContext, { first: { answers, bystander }, exit }: ObservedRow): void {
  t.true(answers)
  t.true(bystander !== null && bystander.after > bystander.before)
  t.is(exit, null)
}

test.serial('a guest whose pages are all good loses nothing', async (t) => {
  t.timeout(LIMIT_MS)
  await using guest = await LinuxGuest.boot({ memory: GUEST_MEMORY_MIB * 2 ** 20, vcpus: VCPUS })
  for (const [use, result] of [
    ['load', { value: '0x5e5e5e5e5e5e5e5e' }],
    ['fetch', { value: '0x5eed' }],
    ['write', { written: '4096', errno: '0' }],
  ] as const) {
    const { fields } = await guest.ask(`victim ${use}`, 'victim')
    t.like(fields, { state: 'ready', use })
    const survived = await guest.ask('go', 'victim')
    t.like(survived.fields, { state: 'survived', ...result })
    t.like((await guest.report('ended')).fields, { program: 'victim', exit: '0', signal: '0' })
  }
  const workers = new Set<string | undefined>()
  for (const [command, well] of [
    ['stress 5 2', '7'],
    ['relieve\nstress 2 0', '2'],
  ] as const) {
    guest.send(command)
    workers.add((await guest.report('stress', { state: 'started' })).fields['pid'])
    t.like((await guest.report('stress', { state: 'done' })).fields, { well, badly: '0', never: '0' })
  }
  t.is(workers.size, 2)
  t.deepEqual(guest.failures, [])
})

test.serial('a Linux guest loses the process that used the lost page, and nothing else', async (t) => {
  const seen = await run(t, 'seawall-load', 2)
  const { gva, gpa } = seen.victim
  t.deepEqual(seen.victim.signal, { number: SIGBUS, code: BUS_OBJERR, address: gva })
  t.deepEqual(seen.victim.end, { exit: -1, signal: SIGBUS })
  t.is(seen.victim.survived, null)
  t.true(seen.first.answers)
  const { bystander } = seen.first
  t.true(bystander !== null && bystander.after > bystander.before)
  t.deepEqual(
    complaints(seen.kernelLog).filter(({ process }) => process === 'victim'),
    [],
  )

  const [first, ...further] = seen.failures
  t.like(first, { half: 1, source: 'sea', gva, gpa, action: 'inject', injection: { result: 'ok' } })
  t.is(first?.consumer?.mode, 'user')
  // Whether the kernel meets the page again, and what becomes of it then, is the experiment's to say. What it meets is the
  // quarantine, and no other page is lost.
  t.true(seen.second !== null)
  for (const failure of further) t.like(failure, { half: 2, source: 'quarantined-page', gpa })
  t.like(seen.pages, [{ gpa, size: 4096, state: 'quarantined', hits: seen.failures.length }])
  t.is(seen.pages.length, 1)
})

test.serial('a Linux guest whose kernel reads the lost page oopses, and goes on', async (t) => {
  const seen = await run(t, 'seawall-write', 1)
  isAlive(t, seen)
  t.is(seen.victim.survived, null)
  t.deepEqual(seen.victim.end, { exit: -1, signal: SIGSEGV })
  t.like(seen.failures, [{ source: 'sea', gpa: seen.victim.gpa, action: 'inject' }])
  t.is(seen.failures.length, 1)
  t.is(seen.failures[0]?.consumer?.mode, 'kernel')
  t.like(complaints(seen.kernelLog), [
    { text: 'Internal error: synchronous external abort', process: 'victim' },
  ])
})

test.serial('without the exit the same guest panics with an SError', async (t) => {
  const seen = await run(t, 'kvm-load', 1)
  t.deepEqual(seen.exit, { reason: 'reset', error: null })
  t.like(seen.first, { answers: false, bystander: null })
  t.is(seen.victim.end, null)
  t.deepEqual(seen.failures, [])
  t.deepEqual(seen.pages, [])
  const panic = complaints(seen.kernelLog).find(({ text }) => text.startsWith('Kernel panic'))
  t.is(panic?.text, 'Kernel panic - not syncing: Asynchronous SError Interrupt')
})
