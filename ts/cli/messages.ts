import type { Readable } from 'node:stream'

/** What the tool says while a guest runs: on standard error, beside the guest's console. */
export class Messages {
  readonly #quiet: boolean
  /** Whether the guest's last line on the same terminal has no end yet. */
  #openLine = false

  constructor(quiet: boolean) {
    this.#quiet = quiet
  }

  /** Keeps messages off the guest's lines, where both go to a terminal. */
  beside(output: Readable): void {
    if (!process.stdout.isTTY || !process.stderr.isTTY) return
    output.on('data', (chunk: Uint8Array) => {
      this.#openLine = chunk.at(-1) !== 0x0a
    })
  }

  /** Says something that one may do without. */
  say(text: string): void {
    if (!this.#quiet) this.insist(text)
  }

  /** Says something that must be known. */
  insist(text: string): void {
    this.line(`seawall: ${text}`)
  }

  /** Writes a line as it is. */
  line(text: string): void {
    process.stderr.write(`${this.#openLine ? '\n' : ''}${text}\n`)
    this.#openLine = false
  }
}
