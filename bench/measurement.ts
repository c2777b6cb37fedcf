/** One thing that was measured. */
export interface Measurement {
  /** What was measured, as a short phrase. */
  readonly name: string
  readonly value: number
  /** What the value counts, such as `µs` or `instructions`; a reference has the same unit. */
  readonly unit: string
  /** What it is compared with, measured in the same run. */
  readonly reference?: { readonly name: string; readonly value: number }
  /** The value, divided by that of the reference. */
  readonly ratio?: number
  /** The most that the ratio may be, or the value where there is no ratio. */
  readonly target?: number
  /** Whether the target is met; `null` where there is none. */
  readonly met: boolean | null
  readonly note?: string
}

/** Measurements that were not taken on the machine itself. */
export interface MeasuredElsewhere {
  /** Where, in words. */
  readonly host: string
  readonly measurements: readonly Measurement[]
}

/** A part of `npm run bench`: measurements that belong together and are taken in one go. */
export interface BenchPart {
  readonly name: string
  /** What is measured, and against what, in a sentence or two: the document prints them under the part's name. */
  readonly describe: string
  /** What was found with a profile: what limits it, and what made it faster. Printed below the part's table. */
  readonly findings?: string
  /** Measures; rejects where it cannot be done here, with the reason. A tenth of the rounds is enough where `scale` is 0.1. */
  run(scale: number): Promise<readonly Measurement[] | MeasuredElsewhere>
}

/** Completes a measurement: the ratio, and whether the target is met. */
export function measurement(measured: Omit<Measurement, 'ratio' | 'met'>): Measurement {
  const { value, reference, target } = measured
  const ratio = reference === undefined ? undefined : value / reference.value
  const met = target === undefined ? null : (ratio ?? value) <= target
  return ratio === undefined ? { ...measured, met } : { ...measured, ratio, met }
}
