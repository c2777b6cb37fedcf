import { closeSync, openSync, writeSync } from 'node:fs'
import type { MemoryFailureEvent } from 'seawall'
import {
  type Failure,
  GUEST_MEMORY_MIB,
  type Half,
  IN_SHORT,
  type ObservedRow,
  type Row,
  VCPUS,
  WORK,
  type Work,
} from './blast-radius-recording.ts'
import { type Fields, LinuxGuest, type Report, said } from './linux-guest.ts'
import { zap } from './zap.ts'

/** Limits in milliseconds, for an emulated machine that is busy with other things too. */
const LIMIT = { row: 800_000, boot: 240_000, answer: 60_000, use: 60_000, work: 480_000 }
/** How often the worker is looked at. One that is in an uninterruptible sleep twice does not wake up again. */
const LOOK_MS = 10_000

/**
 * Boots a guest, lets a process of it lose a page, and says what was seen; `halves: 1` leaves out what happens when the guest
 * then works on.
 *
 * @throws Error where the guest never came to lose a page, or the time for a row was over.
 */
export async function observe(row: Row, { halves = 2 }: { halves?: 1 | 2 } = {}): Promise<ObservedRow> {
  const began = performance.now()
  await using guest = await LinuxGuest.create({
    name: row.id,
    memory: GUEST_MEMORY_MIB * 2 ** 20,
    vcpus: VCPUS,
    capabilities: { armSeaToUser: row.armSeaToUser },
    // An emulated guest needs longer to read a record and to say so on its console.
    memoryFailure: { notifyGuest: row.notifyGuest, deferMs: 20_000 },
  })
  let isTooLate = false
  const limit = setTimeout(() => {
    isTooLate = true
    void guest.vm.close()
  }, LIMIT.row)
  const injector = openSync('/dev/sea-inject', 'r+')
  try {
    const { from, ...seen } = await use(guest, row, injector)
    const first = await look(guest)
    const inFirst = guest.failures.length
    const second = halves === 1 || guest.hasEnded ? null : { ...(await work(guest)), ...(await look(guest)) }
    const exit = guest.hasEnded ? await guest.finish() : null
    if (isTooLate) throw new Error(complaint('a guest that goes on', guest))
    return {
      id: row.id,
      ...seen,
      first,
      second,
      exit: exit && {
        reason: exit.reason,
        error: exit.error === undefined ? null : `${exit.error.code}: ${exit.error.message}`,
      },
      failures: guest.failures.map((failure, index) => inShort(failure, index < inFirst ? 1 : 2)),
      pages: guest.vm.poisonedPages(),
      kernelLog: kernelLines(guest.console.slice(from)),
      seconds: (performance.now() - began) / 1000,
    }
  } catch (cause) {
    if (!isTooLate) throw cause
    const reason = cause instanceof Error ? cause.message : cause
    throw new Error(`Expected row ${row.id} to end within ${LIMIT.row / 1000} s: ${reason}`, { cause })
  } finally {
    clearTimeout(limit)
    closeSync(injector)
  }
}

/** Makes the victim's page bad, and lets the victim use it. */
async function use(
  guest: LinuxGuest,
  row: Row,
  injector: number,
): Promise<Pick<ObservedRow, 'release' | 'victim'> & { from: number }> {
  await guest.vm.start()
  const ready = need(await guest.hear(said('ready'), LIMIT.boot), 'a guest that has booted', guest)
  guest.send(`victim ${row.use}`)
  const waiting = await guest.hear(said('victim', { state: 'ready' }), LIMIT.answer)
  const { fields } = need(waiting, 'a victim that waits', guest)
  const [gva, gpa] = [BigInt(fields['gva'] ?? 0), BigInt(fields['gpa'] ?? 0)]
  const from = guest.console.length
  if (row.inAdvance) {
    await guest.vm.reportPoison(gpa, 1)
    await becomeRetired(guest, row)
  } else {
    writeSync(injector, `arm id=1 tgid=${process.pid} ${rule(row, gpa)}\n`)
    await zap(gpa)
  }
  guest.send('go')
  const end = await guest.hear(said('ended', { program: 'victim' }), LIMIT.use)
  const signal = await guest.hear(said('signal', { program: 'victim' }), 0)
  const survived = await guest.hear(said('victim', { state: 'survived' }), 0)
  return {
    from,
    release: ready.fields['release'] ?? '',
    victim: {
      gva,
      gpa,
      signal: signal && {
        number: Number(signal.fields['number']),
        code: Number(signal.fields['code']),
        address: BigInt(signal.fields['address'] ?? 0),
      },
      survived:
        survived &&
        (survived.fields['value'] ?? `${survived.fields['written']}, ${survived.fields['errno']}`),
      end: end && { exit: Number(end.fields['exit']), signal: Number(end.fields['signal']) },
      process: end === null && !guest.hasEnded ? await whereabouts(guest, fields['pid'] ?? '') : null,
    },
  }
}

/**
 * The injector's rule for a page. Where Seawall takes the page away the guest does not reach the bad memory a second time,
 * so the rule is used up by the first access; without Seawall the memory stays bad for every access.
 */
function rule({ armSeaToUser }: Row, gpa: bigint): string {
  const range = `start=0x${gpa.toString(16)} end=0x${(gpa + 4096n).toString(16)}`
  return `${range} fsc=0x10 set=0 fnv=0 ea=1 count=${armSeaToUser ? 1 : 0}`
}

/** Waits until the guest's kernel has retired memory. */
async function becomeRetired(guest: LinuxGuest, { id }: Row): Promise<void> {
  const deadline = performance.now() + LIMIT.answer
  while (((await retiredKib(guest)) ?? 0) === 0) {
    if (performance.now() > deadline) throw new Error(complaint(`row ${id} to retire the page`, guest))
  }
}

async function look(guest: LinuxGuest): Promise<Half> {
  guest.send('ping')
  const answers = (await guest.hear(said('pong'), LIMIT.answer)) !== null
  if (!answers) return { answers, bystander: null, retiredKib: null }
  return { answers, bystander: await watchBystander(guest), retiredKib: await retiredKib(guest) }
}

async function retiredKib(guest: LinuxGuest): Promise<number | null> {
  guest.send('memory')
  const answer = await guest.hear(said('memory'), LIMIT.answer)
  return answer === null ? null : Number(answer.fields['corrupted_kib'])
}

async function watchBystander(guest: LinuxGuest): Promise<Half['bystander']> {
  const before = await count(guest)
  const deadline = performance.now() + LIMIT.answer
  let after = before
  while (after !== null && after === before && performance.now() < deadline) after = await count(guest)
  return before === null || after === null ? null : { before, after }
}

async function count(guest: LinuxGuest): Promise<number | null> {
  guest.send('bystander')
  const answer = await guest.hear(said('bystander'), LIMIT.answer)
  return answer === null ? null : Number(answer.fields['count'])
}

/** Has the guest do the fixed amount of work. If the worker is lost the second one does it. */
async function work(guest: LinuxGuest): Promise<Work> {
  const lost: Fields[] = []
  let end: Report | null = null
  for (const command of ['', 'relieve\n']) {
    guest.send(`${command}stress ${WORK.forks} ${WORK.passes}`)
    const started = await guest.hear(said('stress', { state: 'started' }), LIMIT.answer)
    const seen = await awaitWorker(guest, started?.fields['pid'] ?? '')
    if (seen.worker !== null) lost.push(seen.worker)
    end = seen.end
    if (end !== null || guest.hasEnded) break
  }
  for (const state of ['lost', 'stuck']) {
    const isLost = said('stress', { state })
    for (let one = await guest.hear(isLost, 0); one !== null; one = await guest.hear(isLost, 0)) {
      const at = state === 'stuck' ? await whereabouts(guest, one.fields['pid'] ?? '') : null
      lost.push({ ...one.fields, ...at })
    }
  }
  const number = (name: string): number => Number(end?.fields[name])
  return {
    processes: WORK.forks + WORK.passes,
    work: end && {
      well: number('well'),
      badly: number('badly'),
      never: number('never'),
      kib: number('kib'),
    },
    lost,
  }
}

/** Waits until the work is done; or until its worker is dead, hangs, or has no more time, and then says what became of it. */
async function awaitWorker(
  guest: LinuxGuest,
  pid: string,
): Promise<{ end: Report | null; worker: Fields | null }> {
  const isDone = said('stress', { state: 'done' })
  const isDead = said('ended', { program: 'stress' })
  const deadline = performance.now() + LIMIT.work
  let at: Fields | null = null
  while (performance.now() < deadline) {
    const end = await guest.hear((report) => isDone(report) || isDead(report), LOOK_MS)
    if (end !== null) return isDone(end) ? { end, worker: null } : { end: null, worker: end.fields }
    if (guest.hasEnded) return { end: null, worker: null }
    const wasAsleep = at?.['task'] === 'D'
    at = await whereabouts(guest, pid)
    if (wasAsleep && at?.['task'] === 'D') break
  }
  return { end: null, worker: { program: 'stress', pid, ...at } }
}

/** What a process of the guest does. */
async function whereabouts(guest: LinuxGuest, pid: string): Promise<Fields | null> {
  guest.send(`process ${pid}`)
  const answer = await guest.hear(said('process', { pid }), LIMIT.answer)
  return answer && { task: answer.fields['state'] ?? '', function: answer.fields['function'] ?? '' }
}

function kernelLines(console: string): string[] {
  return console.split(/\r?\n/).filter((line) => line !== '' && !line.includes('seawall: '))
}

function inShort(event: MemoryFailureEvent, half: 1 | 2): Failure {
  const fields = Object.fromEntries(IN_SHORT.map((name) => [name, event[name]]))
  return { half, ...(fields as Omit<Failure, 'half'>) }
}

function need<T>(value: T | null, what: string, guest: LinuxGuest): T {
  if (value === null) throw new Error(complaint(what, guest))
  return value
}

function complaint(expected: string, guest: LinuxGuest): string {
  const last = guest.console.trimEnd().split(/\r?\n/).slice(-5).join('\n') || '(nothing)'
  return `Expected ${expected} but the guest ${guest.hasEnded ? 'has ended' : 'is silent'}; it had said last:\n${last}`
}
