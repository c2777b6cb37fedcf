import type { VmEvent } from '../../events.ts'
import { exitWords, failureWords } from '../words.ts'

/** An event in one line, for people. */
export function eventWords(event: VmEvent): string {
  switch (event.type) {
    case 'memory-failure':
      return failureWords(event)
    case 'exit':
      return exitWords(event.exit)
    case 'state-changed':
      return `the VM was ${event.from} and is ${event.to}`
    case 'guest-reset':
      return 'the guest boots again'
    case 'unclaimed-access': {
      const access = event.write === null ? 'access' : event.write ? 'write' : 'read'
      return `vCPU ${event.vcpu}: ${event.kind} ${access} at ${hex(event.gpa)}, where nothing is: ${event.action}`
    }
    case 'page-state-changed':
      return `page ${hex(event.page.gpa)} was ${event.from} and is ${event.page.state}`
    case 'poison-threshold-reached':
      return `${event.distinctPages} pages are lost, as many as the threshold says: ${event.action}`
    case 'notification-failed':
      return event.reason === 'unread'
        ? `the guest does not read what it is told by ${event.source}`
        : `the guest cannot be told by ${event.source} any more: the memory for it is lost itself`
    case 'decision-fallback': {
      const why = event.error === undefined ? event.reason : `${event.reason}: ${event.error}`
      return `failure ${event.failure} was decided by the policy (${why})`
    }
    case 'decision-late':
      return `the decision about failure ${event.failure} came too late, ${event.afterMs} ms after the question`
    case 'events-lost':
      return `events ${event.fromSeq} to ${event.toSeq} are lost`
    case 'vcpu-failed':
      return `vCPU ${event.vcpu} has failed: ${event.error.code}: ${event.error.message}`
  }
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`
}
