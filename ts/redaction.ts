import type { MemoryFailure } from './events.ts'

/**
 * Leaves out of a failure what tells of the guest's own address space and state: `gva`, `pc` and `pstate`.
 *
 * The one place that does. It is where a failure leaves for events and lists, and not before: the owner's `decide` runs in
 * this process, may read every register anyway, and needs the whole failure.
 */
export function redact<Failure extends MemoryFailure>(failure: Failure): Failure {
  const consumer = failure.consumer && { ...failure.consumer, pc: null, pstate: null }
  return { ...failure, gva: null, consumer }
}
