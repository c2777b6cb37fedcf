import { COPIES } from './copies.ts'
import { LIFECYCLE } from './lifecycle.ts'
import { RESETS } from './resets.ts'
import { STORMS } from './storm.ts'
import type { Trial } from './trial.ts'
import { WORKERS } from './workers.ts'

/** The parts of the soak, and the trials of each. */
export const parts: Readonly<Record<string, Readonly<Record<string, Trial>>>> = {
  storm: STORMS,
  lifecycle: LIFECYCLE,
  copies: COPIES,
  workers: WORKERS,
  resets: RESETS,
}
