import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { SimulatedStep } from 'seawall'

/** The compiled tool, as package.json names it. */
export const TOOL = fileURLToPath(new URL('../../../dist/cli/seawall.js', import.meta.url))
/** The same over the simulator. */
export const SIMULATED_TOOL = fileURLToPath(new URL('simulated-seawall.js', import.meta.url))

/** How a process ended, and what it said. */
export interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

/** A process whose streams are pipes. */
export class Child {
  readonly process: ChildProcessByStdio<Writable, Readable, Readable>
  /** What it has said on standard error so far. */
  stderr = ''
  readonly #closed: Promise<unknown[]>

  constructor(
    command: string,
    args: readonly string[],
    { env, user }: { env?: Record<string, string>; user?: number } = {},
  ) {
    this.process = spawn(command, args, {
      env: { ...process.env, ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(user === undefined ? {} : { uid: user, gid: user }),
    })
    // One that has ended does not read its input.
    this.process.stdin.on('error', () => {})
    this.process.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
    this.#closed = once(this.process, 'close')
  }

  /** Waits until it has said something on standard error. */
  async says(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.stderr)) {
      const { exitCode, signalCode } = this.process
      if (exitCode !== null || signalCode !== null)
        throw new Error(`ended before it said ${pattern}:\n${this.stderr}`)
      await Promise.race([once(this.process.stderr, 'data'), this.#closed])
    }
  }

  /** Reads its output to the end. To be called before it ends: Node throws away what nobody wanted until then. */
  async ends(): Promise<Ended> {
    const chunks: Buffer[] = []
    this.process.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
    const [code, signal] = (await this.#closed) as [number | null, NodeJS.Signals | null]
    return { code, signal, stdout: Buffer.concat(chunks).toString('utf8'), stderr: this.stderr }
  }
}

/** Runs the tool to its end. */
export function seawall(...args: string[]): Promise<Ended> {
  const child = new Child(process.execPath, [TOOL, ...args])
  child.process.stdin.end()
  return child.ends()
}

/** A guest of the simulated tool: an image that it takes for one, and the script that it plays. */
export class ScriptedGuest {
  /** A folder of its own, which is gone with the test. */
  readonly folder: string
  readonly image: string
  readonly #script: string

  constructor(t: { teardown(remove: () => void): void }, ...steps: SimulatedStep[]) {
    this.folder = mkdtempSync(join(tmpdir(), 'seawall-'))
    t.teardown(() => rmSync(this.folder, { recursive: true }))
    this.image = join(this.folder, 'guest.bin')
    writeFileSync(this.image, new Uint8Array(4))
    this.#script = join(this.folder, 'script.json')
    const hex = (_: string, value: unknown) => (typeof value === 'bigint' ? `0x${value.toString(16)}` : value)
    writeFileSync(this.#script, JSON.stringify([steps], hex))
  }

  /** What makes the simulated tool play it. */
  get env(): Record<string, string> {
    return { SEAWALL_SCRIPT: this.#script }
  }

  /** The arguments with which Node runs it. */
  args(...more: string[]): string[] {
    return [SIMULATED_TOOL, 'run', '--memory', '4M', '--flat', this.image, ...more]
  }

  start(...more: string[]): Child {
    return new Child(process.execPath, this.args(...more), { env: this.env })
  }

  run(...more: string[]): Promise<Ended> {
    return this.start(...more).ends()
  }

  /** A file of this guest's. */
  file(name: string): string {
    return join(this.folder, name)
  }
}
