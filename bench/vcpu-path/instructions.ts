import { median } from '../numbers.ts'
import type { Turn } from './in-lab.ts'

/** What a turn in mode `spin` executes between two looks at the counter: SPIN of the guest. */
const SPIN = 100_000

/** Instructions per round trip, of turns that began with one in mode `spin`. */
export class Instructions {
  readonly #turns: readonly Turn[]
  readonly #perTick: number

  constructor(turns: readonly Turn[]) {
    this.#turns = turns
    this.#perTick = SPIN / median(this.#times('c', 'spin'))
  }

  /** The median over all turns of a side in a mode. */
  of(side: Turn['side'], mode: string): number {
    return Math.round(median(this.#times(side, mode)) * this.#perTick)
  }

  /** The same of a mode whose times are in nanoseconds: an instruction takes one. */
  ofNanoseconds(side: Turn['side'], mode: string): number {
    return Math.round(median(this.#times(side, mode)))
  }

  /** The system calls of each time. */
  callsOf(side: Turn['side'], mode: string): number {
    return median(this.#times(side, `calls of ${mode}`))
  }

  #times(side: Turn['side'], mode: string): readonly number[] {
    const times = this.#turns
      .filter((turn) => turn.side === side && turn.mode === mode)
      .flatMap((turn) => turn.times)
    if (times.length === 0) throw new Error(`Expected times of ${side} in mode ${mode} but received none`)
    return times
  }
}
