import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'

/** The program that gives a command a terminal: in the lab it is there, here it is built, by the compiler that cargo needs too. */
export class TerminalProgram implements Disposable {
  readonly path: string
  readonly #folder: string | null = null

  constructor() {
    if (process.env['SEAWALL_HOST'] !== undefined) {
      this.path = 'pty'
      return
    }
    this.#folder = mkdtempSync(join(tmpdir(), 'seawall-'))
    this.path = join(this.#folder, 'pty')
    execFileSync('cc', ['-std=gnu17', '-Wall', '-Wextra', '-Werror', 'lab/programs/pty.c', '-o', this.path])
  }

  [Symbol.dispose](): void {
    if (this.#folder !== null) rmSync(this.#folder, { recursive: true })
  }
}

/** A command on a terminal of its own. */
export class PseudoTerminal {
  /** What the terminal shows. */
  screen = ''
  /** What happened, as `lab/programs/pty.c` says it: `pid 7`, `mode changed`, `exit 0`. */
  readonly reports: string[] = []
  readonly #process: ChildProcess
  readonly #closed: Promise<unknown>
  readonly #more: (() => void)[] = []

  constructor(program: TerminalProgram, command: readonly string[], env: Record<string, string> = {}) {
    const stdio = ['pipe', 'pipe', 'inherit', 'pipe'] as const
    this.#process = spawn(program.path, command, { env: { ...process.env, ...env }, stdio: [...stdio] })
    this.#closed = once(this.#process, 'close')
    const [, stdout, , reports] = this.#process.stdio as unknown as [Writable, Readable, null, Readable]
    stdout.setEncoding('utf8').on('data', (text: string) => this.#take(() => (this.screen += text)))
    let rest = ''
    reports.setEncoding('utf8').on('data', (text: string) =>
      this.#take(() => {
        const lines = (rest + text).split('\n')
        rest = lines.pop() ?? ''
        this.reports.push(...lines)
      }),
    )
    this.#process.once('close', () => this.#take(() => {}))
  }

  /** Types. */
  type(text: string): void {
    this.#process.stdin?.write(text)
  }

  /** Hangs the terminal up. */
  hangUp(): void {
    this.#process.stdin?.end()
  }

  /** The command's process. */
  get pid(): number {
    return Number(this.reports.find((line) => line.startsWith('pid '))?.slice(4))
  }

  /** Sends the command a signal. */
  kill(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal)
  }

  /** Waits until the terminal shows something. */
  shows(what: RegExp | string): Promise<void> {
    const is = () => (typeof what === 'string' ? this.screen.includes(what) : what.test(this.screen))
    return this.#until(is, String(what))
  }

  /** Waits until something has happened once more. */
  async happens(report: string): Promise<void> {
    await this.#until(() => this.reports.includes(report), report)
    this.reports.splice(this.reports.indexOf(report), 1)
  }

  /** Waits until the command has ended. Says how, and how it has left the terminal. */
  async ends(): Promise<[end: string | undefined, left: string | undefined]> {
    await this.#closed
    return [this.reports.at(-2), this.reports.at(-1)]
  }

  async #until(is: () => boolean, what: string): Promise<void> {
    while (!is()) {
      if (this.reports.at(-1)?.startsWith('left ')) {
        throw new Error(`ended before ${what}: ${this.reports.join(', ')}\n${this.screen}`)
      }
      await new Promise<void>((resolve) => this.#more.push(resolve))
    }
  }

  #take(change: () => void): void {
    change()
    for (const resolve of this.#more.splice(0)) resolve()
  }
}
