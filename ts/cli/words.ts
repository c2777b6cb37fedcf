import type { MemoryFailureEvent, VmExit } from '../events.ts'
import type { VmStats } from '../stats.ts'

/** How an error was found that no vCPU has met. */
const FOUND: Readonly<Record<MemoryFailureEvent['source'], string>> = {
  sea: 'found by an abort',
  'sigbus-ar': 'found by a signal',
  'sigbus-ao': 'found by the host',
  'quarantined-page': 'found in quarantine',
  'device-access': 'met by a copy of our own',
  reported: 'reported by the owner',
}

/** What a memory error is, in one line. */
export function failureWords({ gpa, consumer, source, vcpu, action, reason }: MemoryFailureEvent): string {
  const where = gpa === null ? 'at an address that nobody knows' : `in page 0x${gpa.toString(16)}`
  const who = consumer === null ? FOUND[source] : `met in ${consumer.mode} mode by vCPU ${vcpu}`
  return `memory error ${where}, ${who}: ${action} (${reason})`
}

/** How a guest ended, in one line. */
export function exitWords({ reason, error }: VmExit): string {
  switch (reason) {
    case 'shutdown':
      return 'the guest has shut down'
    case 'reset':
      return 'the guest asked for a reset'
    case 'crash':
      return 'the guest has crashed'
    case 'requested':
      return 'the guest was stopped'
    case 'policy':
      return 'the guest was stopped by the policy for memory errors'
    case 'failed':
      return `the guest cannot go on: ${error === undefined ? 'no reason is known' : `${error.code}: ${error.message}`}`
  }
}

/** What a VM has counted, in one line. */
export function statsWords({ exits, failures, lost }: VmStats, lostPages: number): string {
  const counted = Object.entries(exits).filter(([, count]) => count > 0n)
  const words = counted.map(([name, count]) => `${name} ${count}`).join(', ') || 'none'
  return `memory errors ${failures}, lost pages ${lostPages}, lost events ${lost}; exits: ${words}`
}
