import type { HostSupport, Injection, MemoryFailureEvent, SyndromeField, VmExit } from 'seawall'

/** Everything that was seen when the acts were played on one host. */
export interface Recording {
  readonly kernel: string
  readonly node: string
  readonly support: HostSupport
  readonly acts: readonly ActRecording[]
}

/** One act, played twice: KVM's injection left as it is, then with Seawall's. */
export interface ActRecording {
  readonly id: string
  /** The line that armed the injector, without the process. */
  readonly armed: string
  readonly kvmAlone: RunRecording
  readonly seawall: RunRecording
  /** The syndrome of the second run's exit, for people. */
  readonly syndrome: { readonly text: string; readonly fields: readonly SyndromeField[] } | null
  /** Names of the fields in which the guest's ESR_EL1 of the two runs differ. */
  readonly restoredFields: readonly string[]
}

/** One run of a guest. */
export interface RunRecording {
  readonly events: readonly MemoryFailureEvent[]
  readonly injection: Injection | null
  /** The instruction at the event's pc, read from the guest's image. */
  readonly instruction: { readonly word: bigint; readonly text: string } | null
  readonly console: string
  /** The exceptions that the guest's own handler printed. */
  readonly exceptions: readonly GuestException[]
  readonly exit: { readonly reason: VmExit['reason']; readonly error: string | null }
  /** How many accesses the injector turned into memory errors. */
  readonly hits: number
}

/** What the guest's handler read from its registers. */
export interface GuestException {
  readonly vector: bigint
  readonly esr: bigint
  readonly far: bigint
  readonly elr: bigint
  readonly spsr: bigint
}

const HEX = /^0x[0-9a-f]+$/

/** One line of JSON; a bigint becomes a string such as `"0x92000610"`. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_key, item) => (typeof item === 'bigint' ? hex(item) : item))
}

/** Reads what `toJson` wrote: no string of ours looks like a number in hex. */
export function fromJson(json: string): unknown {
  return JSON.parse(json, (_key, item) => (typeof item === 'string' && HEX.test(item) ? BigInt(item) : item))
}

/** `0x92000610`, and `unknown` for null. */
export function hex(value: bigint | null): string {
  return value === null ? 'unknown' : `0x${value.toString(16)}`
}
