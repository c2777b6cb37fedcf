import type { Half } from './blast-radius-recording.ts'
import { type Fields, type LinuxGuest, said } from './linux-guest.ts'

/** How long a guest may take to answer, for an emulated machine that is busy with other things too. */
export const ANSWER_MS = 60_000

/** Asks a guest how it is; it may be dead. */
export async function look(guest: LinuxGuest): Promise<Half> {
  guest.send('ping')
  const answers = (await guest.hear(said('pong'), ANSWER_MS)) !== null
  if (!answers) return { answers, bystander: null, retiredKib: null }
  return { answers, bystander: await watchBystander(guest), retiredKib: await retiredKib(guest) }
}

/** How much memory the guest's kernel has retired; null where it does not say. */
export async function retiredKib(guest: LinuxGuest): Promise<number | null> {
  guest.send('memory')
  const answer = await guest.hear(said('memory'), ANSWER_MS)
  return answer === null ? null : Number(answer.fields['corrupted_kib'])
}

/** What a process of the guest does. */
export async function whereabouts(guest: LinuxGuest, pid: string): Promise<Fields | null> {
  guest.send(`process ${pid}`)
  const answer = await guest.hear(said('process', { pid }), ANSWER_MS)
  return answer && { task: answer.fields['state'] ?? '', function: answer.fields['function'] ?? '' }
}

/** The error of a guest that did not do what no row is without. */
export function complaint(expected: string, guest: LinuxGuest): Error {
  const last = guest.console.trimEnd().split(/\r?\n/).slice(-5).join('\n') || '(nothing)'
  return new Error(
    `Expected ${expected} but the guest ${guest.hasEnded ? 'has ended' : 'is silent'}; it had said last:\n${last}`,
  )
}

async function watchBystander(guest: LinuxGuest): Promise<Half['bystander']> {
  const before = await count(guest)
  const deadline = performance.now() + ANSWER_MS
  let after = before
  while (after !== null && after === before && performance.now() < deadline) after = await count(guest)
  return before === null || after === null ? null : { before, after }
}

async function count(guest: LinuxGuest): Promise<number | null> {
  guest.send('bystander')
  const answer = await guest.hear(said('bystander'), ANSWER_MS)
  return answer === null ? null : Number(answer.fields['count'])
}
