const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const

/** The signals that ask the process to end: the first one is an order to do so in good order, the second one ends it at once. */
export class SignalTrap implements Disposable {
  readonly #onSignal: () => void
  readonly #beforeDeath: () => void
  #received: NodeJS.Signals | null = null

  constructor(onSignal: () => void, beforeDeath: () => void) {
    this.#onSignal = onSignal
    this.#beforeDeath = beforeDeath
    for (const signal of SIGNALS) process.on(signal, this.#receive)
  }

  /** The signal that came, if one did. */
  get received(): NodeJS.Signals | null {
    return this.#received
  }

  [Symbol.dispose](): void {
    for (const signal of SIGNALS) process.off(signal, this.#receive)
  }

  readonly #receive = (signal: NodeJS.Signals): void => {
    if (this.#received === null) {
      this.#received = signal
      this.#onSignal()
      return
    }
    this.#beforeDeath()
    this[Symbol.dispose]()
    process.kill(process.pid, signal)
  }
}
