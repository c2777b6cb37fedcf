import type { MemoryFailureEvent, PoisonedPage, VmExit } from 'seawall'
import type { Fields } from './linux-guest.ts'

/** One run of the experiment: how the victim uses the page it loses, and who takes the error. */
export interface Row {
  readonly id: string
  /** Who takes the error, as the tables say it. */
  readonly who: string
  readonly use: 'load' | 'fetch' | 'write'
  /** Whether Seawall asks the kernel for the exit (`capabilities.armSeaToUser`). */
  readonly armSeaToUser: boolean
  /** Whether the guest is told which page is lost (`memoryFailure.notifyGuest`). */
  readonly notifyGuest: 'ghes' | 'none'
  /** Whether the monitor's owner knows of the page first (`vm.reportPoison`), and nothing is consumed. */
  readonly inAdvance: boolean
}

const SEAWALL = { armSeaToUser: true, notifyGuest: 'ghes', inAdvance: false } as const
const CASES = {
  seawall: { who: 'Seawall', ...SEAWALL },
  advance: { who: 'Seawall, in advance', ...SEAWALL, inAdvance: true },
  untold: { who: 'Seawall, guest not told', ...SEAWALL, notifyGuest: 'none' },
  kvm: { who: 'KVM alone', ...SEAWALL, armSeaToUser: false },
} as const

/** The whole matrix. */
export const ROWS: readonly Row[] = Object.entries(CASES).flatMap(([name, one]) =>
  (['load', 'fetch', 'write'] as const).map((use) => ({ id: `${name}-${use}`, use, ...one })),
)

/** One row of each class: an application consumes the error, the guest's kernel does, the guest is not told, nobody takes the exit. */
export const CLASSES: readonly Row[] = ROWS.filter(({ id }) =>
  ['seawall-load', 'seawall-write', 'untold-load', 'kvm-load'].includes(id),
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
