import type { MemoryFailureEvent, PoisonedPage, VmExit } from 'seawall'
import type { Use } from './blast-radius-rows.ts'
import type { Fields } from './linux-guest.ts'

/** What was seen in one run, or why nothing was. A field is null where nothing was seen in time. */
export type RowRecording = ObservedRow | { readonly id: string; readonly error: string }

/** Everything that was seen on one host. */
export interface Experiment {
  readonly kernel: string
  readonly node: string
  readonly rows: readonly RowRecording[]
}

export interface ObservedRow {
  readonly id: string
  /** The guest's kernel, as it says. */
  readonly release: string
  /** By which the pages were chosen; null where there was nothing to choose. */
  readonly seed: bigint | null
  /** In the order of their uses. */
  readonly victims: readonly Victim[]
  readonly first: Half
  /** Null where there was no guest any more, or it was left out. */
  readonly second: (Half & Work) | null
  /** How the guest ended by itself; null where it ran on. */
  readonly exit: { readonly reason: VmExit['reason']; readonly error: string | null } | null
  readonly failures: readonly Failure[]
  readonly pages: readonly PoisonedPage[]
  /** What the guest's kernel said from the use on. */
  readonly kernelLog: readonly string[]
  readonly seconds: number
}

/** A process that lost its page. */
export interface Victim {
  readonly use: Use
  readonly gva: bigint
  readonly gpa: bigint
  /** Guest-physical addresses of what it lost beside. */
  readonly others: readonly bigint[]
  /** The signal that was about to reach it. */
  readonly signal: { readonly number: number; readonly code: number; readonly address: bigint } | null
  /** What it had of the use, if it came to that: the value, or what write(2) returned with its errno. */
  readonly survived: string | null
  /** Its end as its parent sees it. */
  readonly end: { readonly exit: number; readonly signal: number } | null
  /** Where it hangs, if it does. */
  readonly process: Fields | null
}

/** The state of the guest at the end of a half. */
export interface Half {
  /** Whether the guest answered a command. */
  readonly answers: boolean
  /** Two counts of the bystander, the second taken until it had counted on, or for a while. */
  readonly bystander: { readonly before: number; readonly after: number } | null
  /** How much memory the guest's kernel has retired, in KiB: HardwareCorrupted of /proc/meminfo. */
  readonly retiredKib: number | null
}

/** What became of the fixed amount of work. */
export interface Work {
  /** How many processes it was to be. */
  readonly processes: number
  /** How they ended, and how much memory they used; null where it was not done in time. */
  readonly work: {
    readonly well: number
    readonly badly: number
    readonly never: number
    readonly kib: number
  } | null
  /** Every process that was lost meanwhile, or hangs, and then where; the worker itself, too. */
  readonly lost: readonly Fields[]
}

/** A memory failure in short. */
export type Failure = Pick<MemoryFailureEvent, (typeof IN_SHORT)[number]> & { readonly half: 1 | 2 }

/** Those fields of the event that differ from row to row. */
export const IN_SHORT = [
  'seq',
  'source',
  'abort',
  'gva',
  'gpa',
  'consumer',
  'action',
  'quarantine',
  'notified',
  'deferral',
  'injection',
] as const
