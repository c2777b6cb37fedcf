/** What a trial has measured, by what it is. */
export type Measured = Record<string, number | string>

/** The scale of a trial. */
export interface Scale {
  /** How many aborts, or rounds. */
  readonly size: number
  readonly backend: 'simulated' | 'kvm'
}

/** A trial: one claim, in a process of its own. It throws where the claim does not hold. */
export type Trial = (scale: Scale) => Promise<Measured>

/** What came of a trial. */
export interface Row {
  readonly part: string
  readonly name: string
  readonly outcome: 'passed' | 'failed' | 'not run'
  /** Why it failed or was not run. */
  readonly detail: string | null
  readonly measured: Measured
}

/** Throws where what was received is not what was expected. */
export function expect<T>(what: string, received: T, expected: T): void {
  if (received === expected) return
  throw new Error(`Expected ${String(expected)} for ${what} but received ${String(received)}`)
}

/** Throws where there is more than there may be. */
export function expectAtMost(what: string, received: number, most: number): void {
  if (received <= most) return
  throw new Error(`Expected at most ${most} for ${what} but received ${received}`)
}

/** Rounds to one digit after the point. */
export function rounded(value: number): number {
  return Math.round(value * 10) / 10
}
