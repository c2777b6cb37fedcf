import test, { type ExecutionContext } from 'ava'
import { observe } from '../../scripts/blast-radius-observe.ts'
import type { ObservedRow, Victim } from '../../scripts/blast-radius-recording.ts'
import { GUEST_MEMORY_MIB, ROWS, VCPUS } from '../../scripts/blast-radius-rows.ts'
import { complaints } from '../../scripts/guest-complaints.ts'
import { LinuxGuest } from '../../scripts/linux-guest.ts'

const SIGBUS = 7
const SIGSEGV = 11
const BUS_MCEERR_AR = 4
/** A row's own limit is shorter. */
const LIMIT_MS = 900_000

async function run(
  t: ExecutionContext,
  id: string,
  halves: 1 | 2,
): Promise<{ seen: ObservedRow; victim: Victim }> {
  t.timeout(LIMIT_MS)
  const row = ROWS.find((one) => one.id === id)
  if (row === undefined) throw new Error(`there is no row ${id}`)
  const seen = await observe(row, { halves })
  t.log(`${Math.round(seen.seconds)} s`)
  const [victim] = seen.victims
  if (victim === undefined) throw new Error('there was no victim')
  return { seen, victim }
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
  guest.send('victim load 4 3 8 1')
  const pages = new Set<string | undefined>()
  for (const state of [...Array(4).fill('ready'), ...Array(8).fill('page')]) {
    pages.add((await guest.report('victim', { state })).fields['gpa'])
  }
  t.is(pages.size, 12)
  guest.send('go')
  for (let victim = 0; victim < 4; victim += 1) {
    t.is((await guest.report('victim', { state: 'survived' })).fields['value'], '0x5e5e5e5e5e5e5e5e')
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

/** What the guest's kernel complained of, in short. */
const said = ({ kernelLog }: ObservedRow) => complaints(kernelLog).map(({ text }) => text)

test.serial(
  'a Linux guest loses the process that used the lost page, retires it, and works on',
  async (t) => {
    const { seen, victim } = await run(t, 'seawall-load', 2)
    isAlive(t, seen)
    const { gva, gpa } = victim
    t.deepEqual(victim.signal, { number: SIGBUS, code: BUS_MCEERR_AR, address: gva })
    t.deepEqual(victim.end, { exit: -1, signal: SIGBUS })
    t.is(victim.survived, null)
    t.is(seen.first.retiredKib, 4)
    const frame = `0x${(gpa >> 12n).toString(16)}`
    t.true(said(seen).includes(`Memory failure: ${frame}: recovery action for dirty LRU page: Recovered`))
    t.false(said(seen).some((text) => text.startsWith('Internal error')))
    t.like(seen.failures, [
      {
        half: 1,
        source: 'sea',
        gva,
        gpa,
        action: 'inject',
        injection: { result: 'ok' },
        notified: { source: 'sea' },
      },
    ])
    t.is(seen.failures[0]?.consumer?.mode, 'user')
    // Nearly all memory was used since, and the lost page with none of it.
    const { processes, work, answers } = seen.second ?? {}
    t.like(work, { well: processes, badly: 0, never: 0 })
    t.true(answers)
    t.is(seen.failures.length, 1)
    t.like(seen.pages, [{ gpa, size: 4096, state: 'guest-retired', hits: 1 }])
  },
)

test.serial('two processes that load their lost pages at the same moment both know of it', async (t) => {
  const { seen } = await run(t, 'seawall-pair', 2)
  isAlive(t, seen)
  t.is(seen.victims.length, 2)
  for (const { gva, gpa, signal, end } of seen.victims) {
    t.deepEqual(signal, { number: SIGBUS, code: BUS_MCEERR_AR, address: gva })
    t.deepEqual(end, { exit: -1, signal: SIGBUS })
    const failure = seen.failures.find((one) => one.gpa === gpa)
    t.like(failure, { half: 1, source: 'sea', gva, consumer: { mode: 'user' } })
    t.not(failure?.notified, null)
  }
  t.is(seen.first.retiredKib, 8)
  t.false(said(seen).some((text) => text.startsWith('Internal error')))
  t.like(seen.second, { answers: true, work: { well: seen.second?.processes, badly: 0, never: 0 } })
  t.false(seen.failures.some(({ half }) => half === 2))
  t.deepEqual(
    seen.pages.map(({ state }) => state),
    ['guest-retired', 'guest-retired'],
  )
})

test.serial('a Linux guest whose kernel reads the lost page is told, and says EFAULT', async (t) => {
  const { seen, victim } = await run(t, 'seawall-write', 1)
  isAlive(t, seen)
  t.is(victim.survived, '-1, EFAULT')
  t.deepEqual(victim.end, { exit: 0, signal: 0 })
  t.is(seen.first.retiredKib, 4)
  t.false(said(seen).some((text) => text.startsWith('Internal error')))
  const { gpa } = victim
  t.like(seen.failures[0], {
    source: 'sea',
    gpa,
    action: 'defer',
    notified: { source: 'gsiv' },
    injection: null,
  })
  t.is(seen.failures[0]?.consumer?.mode, 'kernel')
  t.like(seen.failures.at(-1), {
    gpa,
    deferral: { outcome: 'retired' },
    notified: { acked: true },
    injection: null,
  })
  // Once told and once settled; again where its process went on for a moment in between, or on the other vCPU.
  t.true(seen.failures.every(({ injection }) => injection === null))
})

test.serial('a Linux guest that is told in advance retires the page, and nothing is consumed', async (t) => {
  const { seen, victim } = await run(t, 'advance-load', 1)
  isAlive(t, seen)
  const { gva, gpa } = victim
  t.deepEqual(victim.signal, { number: SIGBUS, code: BUS_MCEERR_AR, address: gva })
  t.is(seen.first.retiredKib, 4)
  t.like(seen.failures, [{ source: 'reported', gpa, action: 'ignore', notified: { source: 'gsiv' } }])
  t.is(seen.failures.length, 1)
})

test.serial(
  'a Linux guest that is not told and whose kernel reads the lost page oopses, and goes on',
  async (t) => {
    const { seen, victim } = await run(t, 'untold-write', 1)
    isAlive(t, seen)
    t.is(victim.survived, null)
    t.deepEqual(victim.end, { exit: -1, signal: SIGSEGV })
    t.like(seen.failures, [{ source: 'sea', gpa: victim.gpa, action: 'inject', notified: null }])
    t.is(seen.failures[0]?.consumer?.mode, 'kernel')
    t.like(complaints(seen.kernelLog), [
      { text: 'Internal error: synchronous external abort', process: 'victim' },
    ])
  },
)

test.serial('without the exit the same guest panics with an SError', async (t) => {
  const { seen, victim } = await run(t, 'kvm-load', 1)
  t.deepEqual(seen.exit, { reason: 'reset', error: null })
  t.like(seen.first, { answers: false, bystander: null, retiredKib: null })
  t.is(victim.end, null)
  t.deepEqual(seen.failures, [])
  t.deepEqual(seen.pages, [])
  const panic = complaints(seen.kernelLog).find(({ text }) => text.startsWith('Kernel panic'))
  t.is(panic?.text, 'Kernel panic - not syncing: Asynchronous SError Interrupt')
})
