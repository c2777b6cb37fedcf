import type { PoisonedPage, VmEvent, VmState } from '../../events.ts'
import type { VmStats } from '../../stats.ts'
import type { SyndromeField } from '../../syndrome.ts'

/** What the view's page is told, by the name of the server-sent event. Goes out as JSON by `jsonReplacer`. */
export interface Messages {
  /** The first message of a connection. Where it is not `resumed`, everything is told from the beginning. */
  hello: {
    vm: { id: string; name: string | null }
    vcpus: number
    /** Guest RAM; `size` in bytes. */
    ram: { gpa: bigint; size: number }
    resumed: boolean
  }
  /** One event of the VM. */
  event: {
    event: VmEvent
    /** The event in one line, for people. */
    words: string
    /** The syndrome of the access, where there is one. */
    syndrome: Decoded | null
    /** What the guest's handler reads in ESR_EL1, where something was injected. */
    injected: Decoded | null
  }
  /** What the guest has printed: text that anybody may have written. */
  console: { text: string }
  /** So much was thrown away before this connection had it. */
  lost: { events: number; characters: number }
  /** Every lost page, after events were lost. */
  pages: { pages: PoisonedPage[] }
  /** How the VM is just now. */
  now: { state: VmState; stats: VmStats }
  /** The VM is closed; there is no more. */
  bye: Record<string, never>
}

/** A syndrome, decoded: in one sentence, and every field of it. */
export interface Decoded {
  readonly sentence: string
  readonly fields: readonly SyndromeField[]
}

/** A value as JSON has it that `jsonReplacer` made: 64 bits are a string of hexadecimal digits. */
export type Json<T> = T extends bigint
  ? string
  : T extends Error
    ? { code?: string; message: string }
    : T extends object
      ? { [Key in keyof T]: Json<T[Key]> }
      : T
