import type { ReadStream } from 'node:tty'

/**
 * The signals that end a process which does not know them, and that nobody else here answers. Node cannot catch SIGKILL, uses
 * SIGUSR1 and SIGPROF itself, ignores SIGPIPE and SIGXFSZ, and must not be asked to go on after those of a crash.
 */
const DEADLY = [
  'SIGABRT',
  'SIGALRM',
  'SIGIO',
  'SIGPWR',
  'SIGSTKFLT',
  'SIGSYS',
  'SIGTRAP',
  'SIGUSR2',
  'SIGVTALRM',
  'SIGXCPU',
] as const

/**
 * A terminal in raw mode: every key goes to the guest, also Ctrl-c. It is as it was before on every way out of the process that
 * Node sees, and while the process is stopped.
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
    for (const signal of DEADLY) process.on(signal, this.#die)
  }

  /** Leaves raw mode, for good. */
  [Symbol.dispose](): void {
    this.#leave()
    process.off('exit', this.#leave).off('SIGTSTP', this.#suspend).off('SIGCONT', this.#continue)
    for (const signal of DEADLY) process.off(signal, this.#die)
  }

  readonly #leave = (): void => {
    if (!this.#raw) return
    this.#raw = false
    this.#input.setRawMode(false)
  }

  readonly #die = (signal: NodeJS.Signals): void => {
    this[Symbol.dispose]()
    process.kill(process.pid, signal)
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
