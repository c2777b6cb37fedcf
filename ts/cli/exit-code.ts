import { constants } from 'node:os'
import type { VmExit } from '../events.ts'

/** The exit codes that do not depend on a guest. */
export const EXIT_CODE = { ok: 0, error: 1, usage: 2 } as const

/** The exit code of `seawall run` for each way a guest can end. */
export const GUEST_EXIT_CODE = {
  shutdown: 0,
  reset: 3,
  crash: 4,
  policy: 5,
  failed: 6,
  requested: 7,
} as const satisfies Record<VmExit['reason'], number>

/** The exit code of a tool that a signal ended, by the shells' custom. */
export function signalExitCode(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal]
}
