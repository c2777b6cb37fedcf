import { writeSync } from 'node:fs'
import { ANSWER_MS, complaint, retiredKib, whereabouts } from './blast-radius-look.ts'
import type { Victim } from './blast-radius-recording.ts'
import type { Row, Victims } from './blast-radius-rows.ts'
import { type LinuxGuest, type Report, said } from './linux-guest.ts'
import { zap } from './zap.ts'

const USE_MS = 60_000

/** A victim that waits. */
interface Waiting extends Pick<Victim, 'use' | 'gva' | 'gpa' | 'others'> {
  readonly pid: string
}

/** Makes victims, makes their pages bad, and lets them use these; null where the guest does not make them any more. */
export async function use(
  guest: LinuxGuest,
  row: Row,
  victims: Victims,
  seed: bigint,
  injector: number,
): Promise<Victim[] | null> {
  const { processes, pages, among } = victims
  guest.send(`victim ${victims.use} ${processes} ${pages} ${among} ${seed}`)
  const waiting: Waiting[] = []
  while (waiting.length < processes) {
    const victim = await awaitVictim(guest, victims)
    if (victim === null) return null
    waiting.push(victim)
  }
  const lost = waiting.flatMap(({ gpa, others }) => [gpa, ...others])
  if (row.inAdvance) {
    const before = (await retiredKib(guest)) ?? 0
    await Promise.all(lost.map((gpa) => guest.vm.reportPoison(gpa, 1)))
    if (row.notifyGuest !== 'none') await becomeRetired(guest, row, before + 4 * lost.length)
  } else {
    for (const gpa of lost) {
      writeSync(injector, `arm id=${gpa >> 12n} tgid=${process.pid} ${rule(row, gpa)}\n`)
      await zap(gpa)
    }
  }
  guest.send('go')
  const seen: Victim[] = []
  for (const victim of waiting) seen.push(await awaitEnd(guest, victim))
  return seen
}

async function awaitVictim(guest: LinuxGuest, { use }: Victims): Promise<Waiting | null> {
  const ready = await guest.hear(said('victim', { state: 'ready' }), ANSWER_MS)
  if (ready === null) return null
  const { pid = '', gva = 0 } = ready.fields
  const isOther = said('victim', { state: 'page', pid })
  const others: bigint[] = []
  for (let one = await guest.hear(isOther, 0); one !== null; one = await guest.hear(isOther, 0)) {
    others.push(address(one))
  }
  return { use, pid, gva: BigInt(gva), gpa: address(ready), others }
}

function address({ fields }: Report): bigint {
  return BigInt(fields['gpa'] ?? 0)
}

async function awaitEnd(guest: LinuxGuest, { pid, ...victim }: Waiting): Promise<Victim> {
  const end = await guest.hear(said('ended', { program: 'victim', pid }), USE_MS)
  const signal = await guest.hear(said('signal', { program: 'victim', pid }), 0)
  const survived = await guest.hear(said('victim', { state: 'survived', pid }), 0)
  return {
    ...victim,
    signal: signal && {
      number: Number(signal.fields['number']),
      code: Number(signal.fields['code']),
      address: BigInt(signal.fields['address'] ?? 0),
    },
    survived:
      survived && (survived.fields['value'] ?? `${survived.fields['written']}, ${survived.fields['errno']}`),
    end: end && { exit: Number(end.fields['exit']), signal: Number(end.fields['signal']) },
    process: end === null && !guest.hasEnded ? await whereabouts(guest, pid) : null,
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

/** Waits until the guest's kernel has retired so much memory. */
async function becomeRetired(guest: LinuxGuest, { id }: Row, kib: number): Promise<void> {
  const deadline = performance.now() + ANSWER_MS
  let retired = await retiredKib(guest)
  while ((retired ?? 0) < kib) {
    if (performance.now() > deadline)
      throw complaint(`${kib} KiB retired in row ${id} (not ${retired})`, guest)
    retired = await retiredKib(guest)
  }
}
