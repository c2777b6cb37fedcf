/** How many questions `decide` gets in one turn of the event loop; more wait for the next. */
const QUESTIONS_PER_TURN = 16

/** Questions to `decide`, so many in a turn of the event loop that it has time for everything else. */
export class Questions {
  #asked = 0
  readonly #waiting: (() => void)[] = []

  /** Asks at once, unless many were asked in this turn: a vCPU that was answered goes on, and asks again before it ends. */
  ask(question: () => void): void {
    if (this.#asked === QUESTIONS_PER_TURN) {
      this.#waiting.push(question)
      return
    }
    if (this.#asked === 0) setImmediate(() => this.#nextTurn())
    this.#asked += 1
    question()
  }

  #nextTurn(): void {
    this.#asked = 0
    for (const question of this.#waiting.splice(0)) this.ask(question)
  }
}
