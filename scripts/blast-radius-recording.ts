import type { MemoryFailureEvent, PoisonedPage, VmExit } from 'seawall'
import type { Fields } from './linux-guest.ts'

/** One run of the experiment: how the victim uses the page it loses, and who takes the error. */
export interface Row {
  readonly id: string
  readonly use: 'load' | 'fetch' | 'write'
  /** Whether Seawall asks the kernel for the exit (`capabilities.armSeaToUser`). */
  readonly armSeaToUser: boolean
}

/** The whole matrix. */
export const ROWS: readonly Row[] = [true, false].flatMap((armSeaToUser) =>
  (['load', 'fetch', 'write'] as const).map((use) => ({
    id: `${armSeaToUser ? 'seawall' : 'kvm'}-${use}`,
    use,
    armSeaToUser,
  })),
)

/** One row of each class: an application consumes the error, the guest's kernel does, nobody takes the exit. */
export const CLASSES: readonly Row[] = ROWS.filter(({ id }) =>
  ['seawall-load', 'seawall-write', 'kvm-load'].includes(id),
)

/** The guest: enough memory to boot in, and no more, because emulated memory is slow. */
export const GUEST_MEMORY_MIB = 160
export const VCPUS = 2
/** The fixed amount of work: so many programs are started, and so many processes use nearly all free memory. */
export const WORK = { forks: 50, passes: VCPUS } as const

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
  readonly victim: {
    readonly gva: bigint
    readonly gpa: bigint
    /** The signal that was about to reach it. */
    readonly signal: { readonly number: number; readonly code: number; readonly address: bigint } | null
    /** What it had of the use, if it came to that: the value, or what write(2) returned with its errno. */
    readonly survived: string | null
    /** Its end as its parent sees it. */
    readonly end: { readonly exit: number; readonly signal: number } | null
    /** Where it hangs, if it does. */
    readonly process: Fields | null
  }
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

/** The state of the guest at the end of a half. */
export interface Half {
  /** Whether the guest answered a command. */
  readonly answers: boolean
  /** Two counts of the bystander, the second taken until it had counted on, or for a while. */
  readonly bystander: { readonly before: number; readonly after: number } | null
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
