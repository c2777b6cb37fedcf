import type { Turn } from './in-lab.ts'

/** What a turn in mode `spin` executes between two looks at the counter: SPIN of the guest. */
const SPIN = 100_000

/** Instructions per round trip, of turns that began with one in mode `spin`. */
export class Instructions {
  readonly #turns: readonly Turn[]
  readonly #perTick: number

  constructor(turns: readonly Turn[]) {
    this.#turns = turns
    this.#perTick = SPIN / middle(this.#times('c', 'spin'))
  }

  /** The median over all turns of a side in a mode. */
  median(side: Turn['side'], mode: string): number {
    return Math.round(middle(this.#times(side, mode)) * this.#perTick)
  }

  #times(side: Turn['side'], mode: string): readonly number[] {
    const times = this.#turns
      .filter((turn) => turn.side === side && turn.mode === mode)
      .flatMap((turn) => turn.times)
    if (times.length === 0) throw new Error(`Expected times of ${side} in mode ${mode} but received none`)
    return times
  }
}

function middle(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}
