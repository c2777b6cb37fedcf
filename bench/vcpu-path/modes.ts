import type { MemoryFailurePolicy } from 'seawall'

/** One thing that the guest does many times, and what Seawall is set to do about it. */
export interface Mode {
  /** What `timed-accesses` does: its register x5. */
  readonly what: 0 | 1 | 2 | 3
  /** The address of the first access, and how far it is to the next. */
  readonly address: bigint
  readonly step: bigint
  readonly memoryFailure: MemoryFailurePolicy
  /** How many pages the guest has lost before, all of them elsewhere. */
  readonly lost?: number
  /** Whether the guest is `told-accesses`, booted as a kernel, and told of each page. */
  readonly told?: true
}

/** Where the guest writes down its times, and what it has read of records; its pages from {@link POISON} on are lost. */
export const TIMES = 0x8020_0000n
export const READ = 0x8030_0000n
export const POISON = 0x8040_0000n
/** Where a guest that is booted as a kernel has its device tree and the region of the records. */
export const POISON_END = 0x80e0_0000n
export const MEMORY = 16 * 2 ** 20
/** The console's line status and transmitter holding registers. */
const LINE_STATUS = 0x4000_2005n
const TRANSMITTER = 0x4000_2000n
const NOTHING_ELSE: MemoryFailurePolicy = {
  quarantine: false,
  notifyGuest: 'none',
  sameFaultLimit: 1_000_000,
}

/** What is done, by the names of `kvm-loop` where that does it too. */
export const MODES = {
  same: { what: 0, address: POISON + 16n, step: 0n, memoryFailure: NOTHING_ELSE },
  decide: {
    what: 0,
    address: POISON + 16n,
    step: 0n,
    memoryFailure: { ...NOTHING_ELSE, decide: () => ({ action: 'inject' }), decisionTimeoutMs: 10_000 },
  },
  first: { what: 0, address: POISON + 16n, step: 4096n, memoryFailure: {} },
  told: { what: 0, address: POISON + 16n, step: 4096n, memoryFailure: {}, told: true },
  'mmio-read': { what: 1, address: LINE_STATUS, step: 0n, memoryFailure: {} },
  'mmio-read-lost': { what: 1, address: LINE_STATUS, step: 0n, memoryFailure: {}, lost: 100 },
  'mmio-write': { what: 2, address: TRANSMITTER, step: 0n, memoryFailure: {} },
} as const satisfies Readonly<Record<string, Mode>>

export type ModeName = keyof typeof MODES

/** The guest that runs in a mode. */
export const imageOf = (mode: string): string =>
  `build/guests/${mode === 'told' ? 'told' : 'timed'}-accesses.bin`
