import type { NativeStats } from './native.ts'

/** What a VM has counted since it was created. */
export interface VmStats {
  /**
   * How often the vCPUs left the guest, by the kernel's reason: `KVM_EXIT_ARM_SEA` is `arm-sea`. Two names are ours: `sigbus`
   * is `KVM_EXIT_INTR` by the signal of a memory error, `other` every reason that this version does not know. All names are
   * there, also those of exits that never occurred.
   */
  exits: Record<string, bigint>
  /** Memory failures, also those whose page is not known. The second event of one that waited is no second failure. */
  failures: bigint
  /** Events handed over to JavaScript. */
  delivered: bigint
  /** Events dropped before, because JavaScript was too slow; what a slow reader of `events()` loses later is not counted. */
  lost: bigint
  /**
   * Bytes of console output dropped: all but the newest 1 MiB where nobody reads the console, and the newest where the guest
   * goes on sending although 1 MiB waits for the reader and its transmitter says so.
   */
  consoleBytesLost: bigint
  /** What became of the questions to `decide`. */
  decisions: {
    /** Failures that it was to be asked about. */
    asked: bigint
    /** Answers that came too late. */
    late: bigint
    /** Failures that the policy decided, because no usable answer came. */
    fallback: bigint
    /** For how many nanoseconds vCPUs have waited for answers, in all. */
    waitedNs: bigint
  }
}

/** Gives the counters their public form. */
export function toStats({ exits, ...stats }: NativeStats): VmStats {
  return { exits: Object.fromEntries(exits.map(({ name, count }) => [name, count])), ...stats }
}
