import { types } from 'node:util'
import { checkInteger, checkOneOf, checkRecord } from './checks.ts'
import { invalidOption } from './errors.ts'
import { NO_ANSWER } from './listener.ts'
import type { NativeDecision, NativeVm } from './native.ts'

/** What to do with a memory error whose abort waits. */
export type Decision =
  | {
      /** Injects the abort. */
      action: 'inject'
      /** `auto`, the default: of the kind the processor reported. Else of this kind. */
      abort?: 'auto' | 'data' | 'instruction'
    }
  | {
      /** Injects an SError. The access runs again once the guest has taken it. */
      action: 'inject-serror'
      /** The SError's syndrome, 25 bits; it needs FEAT_RAS. Default: the kernel's own choice. */
      iss?: number
    }
  | {
      /**
       * Lets the access run again without an abort, until `deferMs` is over; then it gets the abort. A second event says which:
       * its `deferral` is `retired` where the vCPU went on. For somebody else to make the guest do without the page meanwhile.
       * An exception by hand and the end of the VM end it too, without an event of its own.
       */
      action: 'defer'
    }
  | {
      /** Lets it wait on. */
      action: 'pause'
    }
  | {
      /** Stops the VM. */
      action: 'stop'
    }
  | {
      /** Lets the access run again: its page was replaced by `vm.replacePage()`. */
      action: 'resume'
    }

/** The highest ISS of an SError: 25 bits. */
export const MAX_ISS = 2 ** 25 - 1

/** Checks decisions by the number of the event that told of the failure. */
export function toNativeDecisions(decisions: unknown): NativeDecision[] {
  if (decisions === undefined) return []
  if (!types.isMap(decisions)) throw invalidOption('a Map', 'decisions', decisions)
  return [...decisions].map(([failure, decision]: [unknown, unknown]) => ({
    failure: checkInteger(failure, 1, 2 ** 32 - 1, 'the keys of decisions'),
    decision: toNumber(decision, `decisions.get(${String(failure)})`),
  }))
}

/** What each action may have beside its name, and its number; `crates/napi/src/decision.rs` has the same numbers. */
const ACTIONS = {
  inject: { number: 0, names: ['action', 'abort'] },
  'inject-serror': { number: 1, names: ['action', 'iss'] },
  pause: { number: 2, names: ['action'] },
  stop: { number: 3, names: ['action'] },
  defer: { number: 4, names: ['action'] },
  resume: { number: 5, names: ['action'] },
} as const
const ACTION_NAMES = Object.keys(ACTIONS) as (keyof typeof ACTIONS)[]
const MANY_ACTIONS = 8
const KINDS = ['auto', 'data', 'instruction'] as const

/** Checks a decision about one failure. One number is all that crosses: the action's, and 8 times what it needs. */
function toNumber(value: unknown, what: string): number {
  if (typeof value !== 'object' || value === null) throw invalidOption('an object', what, value)
  const action = checkOneOf('action' in value ? value.action : undefined, ACTION_NAMES, `${what}.action`)
  const { number, names } = ACTIONS[action]
  const { abort, iss } = checkRecord(value, names, what)
  if (abort !== undefined)
    return number + MANY_ACTIONS * KINDS.indexOf(checkOneOf(abort, KINDS, `${what}.abort`))
  if (iss !== undefined) return number + MANY_ACTIONS * (checkInteger(iss, 0, MAX_ISS, `${what}.iss`) + 1)
  return number
}

/** What `decide` has decided, or why it has not, is handed in here. */
export type Responds = Pick<NativeVm, 'respond' | 'respondFailure'>

/**
 * Asks `decide`. Returns its decision as the addon takes it; {@link NO_ANSWER} where it has none, of which the addon was told; or
 * a promise where it has one: the decision is handed in when it is there. Never throws, and never answers twice.
 */
export function ask(
  native: Responds,
  failure: number,
  decide: () => Decision | Promise<Decision>,
): number | Promise<void> {
  let returned: unknown
  try {
    returned = decide()
  } catch (error) {
    native.respondFailure(failure, 'threw', words(error))
    return NO_ANSWER
  }
  return isThenable(returned) ? respondLater(native, failure, returned) : check(native, failure, returned)
}

async function respondLater(native: Responds, failure: number, promise: unknown): Promise<void> {
  let returned: unknown
  try {
    returned = await promise
  } catch (error) {
    native.respondFailure(failure, 'rejected', words(error))
    return
  }
  const decision = check(native, failure, returned)
  if (decision !== NO_ANSWER) native.respond(failure, decision)
}

function check(native: Responds, failure: number, returned: unknown): number {
  try {
    return toNumber(returned, `the decision about failure ${failure}`)
  } catch (error) {
    native.respondFailure(failure, 'invalid', words(error))
    return NO_ANSWER
  }
}

/** Whether `await` may have to wait for it, or to read what throws. */
function isThenable(value: unknown): boolean {
  return (typeof value === 'object' && value !== null && 'then' in value) || typeof value === 'function'
}

/** What was thrown, in words. It may be anything, also something that throws when it is looked at. */
function words(thrown: unknown): string {
  try {
    return String(thrown instanceof Error ? thrown.message : thrown)
  } catch {
    return 'something that cannot be put into words'
  }
}
