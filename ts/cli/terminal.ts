import type { ReadStream } from 'node:tty'

/**
 * A terminal in raw mode: every key goes to the guest, also Ctrl-c. It is as it was before on every way out of the process but
 * SIGKILL and a crash, and while the process is stopped.
 */
export class Terminal implements Disposable {
  readonly #input: ReadStream
  #raw = false

  constructor(input: ReadStream) {
    this.#input = input
    // It has hung up, and nobody is left to see how it is. The signal that comes with it is what counts.
    input.on('error', () => {})
  }

  /** Enters raw mode. */
  enter(): void {
    this.#raw = true
    this.#input.setRawMode(true)
    process.on('exit', this.#leave).on('SIGTSTP', this.#suspend).on('SIGCONT', this.#continue)
  }

  /** Leaves raw mode, for good. */
  [Symbol.dispose](): void {
    this.#leave()
    process.off('exit', this.#leave).off('SIGTSTP', this.#suspend).off('SIGCONT', this.#continue)
  }

  readonly #leave = (): void => {
    if (!this.#raw) return
    this.#raw = false
    this.#input.setRawMode(false)
  }

  readonly #suspend = (): void => {
    this.#input.setRawMode(false)
    // Not SIGTSTP again: a process without a shell above it would not stop.
    process.kill(process.pid, 'SIGSTOP')
  }

  readonly #continue = (): void => {
    // Node believes that the terminal is as it left it. SIGSTOP asks nobody, and a shell may have changed it since.
    this.#input.setRawMode(false)
    this.#input.setRawMode(this.#raw)
  }
}
