import { closeSync, openSync } from 'node:fs'
import type { MemoryFailureEvent } from 'seawall'
import { complaint, look } from './blast-radius-look.ts'
import { type Failure, IN_SHORT, type ObservedRow, type Victim } from './blast-radius-recording.ts'
import { GUEST_MEMORY_MIB, type Row } from './blast-radius-rows.ts'
import { strew } from './blast-radius-strew.ts'
import { use } from './blast-radius-use.ts'
import { work } from './blast-radius-work.ts'
import { LinuxGuest, linuxOf, said } from './linux-guest.ts'

/** Limits in milliseconds, for an emulated machine that is busy with other things too. */
const LIMIT = { row: 800_000, boot: 240_000 }

/** What can be chosen of a row. */
export interface ObserveOptions {
  /** 1 leaves out what happens when the guest then works on; default 2. */
  readonly halves?: 1 | 2
  /** By which pages are chosen, where there are some to choose; default 0. */
  readonly seed?: bigint
}

/**
 * Boots a guest, lets processes of it lose pages, and says what was seen.
 *
 * @throws Error where the guest never came to lose a page, or the time for a row was over.
 */
export async function observe(
  row: Row,
  { halves = 2, seed = 0n }: ObserveOptions = {},
): Promise<ObservedRow> {
  const began = performance.now()
  await using guest = await LinuxGuest.create({
    name: row.id,
    memory: GUEST_MEMORY_MIB * 2 ** 20,
    vcpus: row.vcpus,
    boot: { ...linuxOf(row.kernel), acpi: row.notifyGuest !== 'agent' },
    capabilities: { armSeaToUser: row.armSeaToUser },
    // An emulated guest needs longer to read a record and to say so on its console. A page of the kernel's own costs it all of that.
    memoryFailure: { notifyGuest: row.notifyGuest, deferMs: row.strewn > 0 ? 200 : 20_000 },
  })
  let isTooLate = false
  const limit = setTimeout(() => {
    isTooLate = true
    void guest.vm.close()
  }, LIMIT.row)
  const injector = openSync('/dev/sea-inject', 'r+')
  try {
    await guest.vm.start()
    const ready = await guest.hear(said('ready'), LIMIT.boot)
    if (ready === null) throw complaint('a guest that has booted', guest)
    if (row.notifyGuest === 'agent') await guest.ask('agent', 'agent')
    const from = guest.console.length
    const victims: Victim[] = []
    if (row.strewn > 0) await strew(guest, row.strewn, seed)
    for (const some of row.victims) {
      const seen = await use(guest, row, some, seed, injector)
      if (seen === null && victims.length === 0) throw complaint('a victim that waits', guest)
      if (seen === null) break
      victims.push(...seen)
    }
    const first = await look(guest)
    const inFirst = guest.failures.length
    const second =
      halves === 1 || !first.answers ? null : { ...(await work(guest, row)), ...(await look(guest)) }
    const exit = guest.hasEnded ? await guest.finish() : null
    if (isTooLate) throw complaint('a guest that goes on', guest)
    return {
      id: row.id,
      release: ready.fields['release'] ?? '',
      seed: row.strewn > 0 || row.victims.some(({ pages, among }) => pages < among) ? seed : null,
      victims,
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

function kernelLines(console: string): string[] {
  return console.split(/\r?\n/).filter((line) => line !== '' && !line.includes('seawall: '))
}

function inShort(event: MemoryFailureEvent, half: 1 | 2): Failure {
  const fields = Object.fromEntries(IN_SHORT.map((name) => [name, event[name]]))
  return { half, ...(fields as Omit<Failure, 'half'>) }
}
