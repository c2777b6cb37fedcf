import { types } from 'node:util'
import { checkInteger, checkOneOf, checkRecord } from './checks.ts'
import { invalidOption } from './errors.ts'
import type { NativeDecision, NativeVm } from './native.ts'

/** What to do with a memory error whose abort waits. */
export type Decision =
  /** Inject the abort: of the kind the processor reported (`auto`, the default), or of another one. */
  | { action: 'inject'; abort?: 'auto' | 'data' | 'instruction' }
  /** Inject an SError; `iss` is its syndrome, 25 bits. The access runs again once the guest has taken it. */
  | { action: 'inject-serror'; iss?: number }
  /**
   * Let the access run again without an abort, until `deferMs` is over; then it gets the abort. A second event says which:
   * its `deferral` is `retired` where the vCPU went on. For somebody else to make the guest do without the page meanwhile.
   * An exception by hand and the end of the VM end it too, without an event of its own.
   */
  | { action: 'defer' }
  /** Let it wait on. */
  | { action: 'pause' }
  /** Stop the VM. */
  | { action: 'stop' }
  /** Let the access run again: its page was replaced by `vm.replacePage()`. */
  | { action: 'resume' }

/** The highest ISS of an SError: 25 bits. */
export const MAX_ISS = 2 ** 25 - 1

/** Checks decisions by the number of the event that told of the failure. */
export function toNativeDecisions(decisions: unknown): NativeDecision[] {
  if (decisions === undefined) return []
  if (!types.isMap(decisions)) throw invalidOption('a Map', 'decisions', decisions)
  return [...decisions].map(([failure, decision]: [unknown, unknown]) =>
    toNativeDecision(
      checkInteger(failure, 1, 2 ** 32 - 1, 'the keys of decisions'),
      decision,
      `decisions.get(${String(failure)})`,
    ),
  )
}

const ACTIONS = {
  inject: ['abort'],
  'inject-serror': ['iss'],
  defer: [],
  pause: [],
  stop: [],
  resume: [],
} as const
const ACTION_NAMES = Object.keys(ACTIONS) as (keyof typeof ACTIONS)[]

/** Checks a decision about one failure. */
export function toNativeDecision(failure: number, value: unknown, what: string): NativeDecision {
  if (typeof value !== 'object' || value === null) throw invalidOption('an object', what, value)
  const action = checkOneOf('action' in value ? value.action : undefined, ACTION_NAMES, `${what}.action`)
  const decision = checkRecord(value, ['action', ...ACTIONS[action]], what)
  switch (action) {
    case 'inject': {
      const abort = checkOneOf(decision['abort'] ?? 'auto', ['auto', 'data', 'instruction'], `${what}.abort`)
      return { action, failure, abort: abort === 'auto' ? null : abort }
    }
    case 'inject-serror': {
      const { iss } = decision
      return { action, failure, iss: iss === undefined ? null : checkInteger(iss, 0, MAX_ISS, `${what}.iss`) }
    }
    case 'defer':
    case 'pause':
    case 'stop':
    case 'resume':
      return { action, failure }
  }
}

/** Answers the addon's questions with what `decide` returns; never throws, and never answers twice. */
export async function answer(
  native: Pick<NativeVm, 'respond' | 'respondFailure'>,
  failure: number,
  decide: () => Decision | Promise<Decision>,
): Promise<void> {
  let decision: unknown
  let reason: 'threw' | 'rejected' | 'invalid' = 'threw'
  try {
    const returned = decide()
    reason = 'rejected'
    decision = await returned
    reason = 'invalid'
    native.respond(toNativeDecision(failure, decision, `the decision about failure ${failure}`))
  } catch (error) {
    native.respondFailure(failure, reason, words(error))
  }
}

/** What was thrown, in words. It may be anything, also something that throws when it is looked at. */
function words(thrown: unknown): string {
  try {
    return String(thrown instanceof Error ? thrown.message : thrown)
  } catch {
    return 'something that cannot be put into words'
  }
}
