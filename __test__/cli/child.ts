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

  constructor(command: string, args: readonly string[], env: Record<string, string> = {}) {
    this.process = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] })
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
      if (this.process.exitCode !== null) throw new Error(`ended before it said ${pattern}:\n${this.stderr}`)
      await Promise.race([once(this.process.stderr, 'data'), this.#closed])
    }
  }

  /** Reads its output to the end. */
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

/** The environment that makes the simulated tool play a script. */
export function playing(...steps: SimulatedStep[]): Record<string, string> {
  const hex = (_: string, value: unknown) => (typeof value === 'bigint' ? `0x${value.toString(16)}` : value)
  return { SEAWALL_SCRIPT: JSON.stringify([steps], hex) }
}

/** A folder with an image that the simulator takes, which is gone with the test. */
export function scratch(teardown: (remove: () => void) => void): { folder: string; image: string } {
  const folder = mkdtempSync(join(tmpdir(), 'seawall-'))
  teardown(() => rmSync(folder, { recursive: true }))
  const image = join(folder, 'guest.bin')
  writeFileSync(image, new Uint8Array(4))
  return { folder, image }
}
