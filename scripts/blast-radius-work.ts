import { ANSWER_MS, whereabouts } from './blast-radius-look.ts'
import type { Work } from './blast-radius-recording.ts'
import { FORKS, processesOfWork, type Row } from './blast-radius-rows.ts'
import { type Fields, type LinuxGuest, type Report, said } from './linux-guest.ts'

const WORK_MS = 480_000
/** How often the worker is looked at. One that is in an uninterruptible sleep twice does not wake up again. */
const LOOK_MS = 10_000

/** Has the guest do the fixed amount of work. If the worker is lost the second one does it. */
export async function work(guest: LinuxGuest, row: Row): Promise<Work> {
  const lost: Fields[] = []
  let end: Report | null = null
  for (const command of ['', 'relieve\n']) {
    guest.send(`${command}stress ${FORKS} ${row.vcpus}`)
    const started = await guest.hear(said('stress', { state: 'started' }), ANSWER_MS)
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
    processes: processesOfWork(row),
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
  const deadline = performance.now() + WORK_MS
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
