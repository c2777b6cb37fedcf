/** Does something soon after it was asked for, and then not again for a while, however often that is asked for until then. */
export class Pace {
  readonly #act: () => void
  readonly #ms: number
  #asked = false
  #rest: NodeJS.Timeout | undefined

  constructor(ms: number, act: () => void) {
    this.#ms = ms
    this.#act = act
  }

  ask(): void {
    if (this.#asked) return
    this.#asked = true
    if (this.#rest === undefined) setImmediate(() => this.#begin())
  }

  #begin(): void {
    this.#asked = false
    this.#rest = setTimeout(() => {
      this.#rest = undefined
      if (this.#asked) this.#begin()
    }, this.#ms)
    this.#act()
  }
}
