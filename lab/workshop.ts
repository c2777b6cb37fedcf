import { mkdtempSync, rmSync } from 'node:fs'
import { arch, tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from './command.ts'

/** A folder for work, by its name on this machine and by its name where the tools run. */
export interface Scratch {
  readonly outside: string
  readonly inside: string
}

/** A place with a compiler for arm64: the tool root, or this machine. */
export interface Workshop {
  /** What the arm64 tools' names begin with: `aarch64-linux-gnu-`, or nothing where they are native. */
  readonly crossPrefix: string
  /** Runs `action` with a fresh folder, which is removed afterwards. */
  withScratch<T>(action: (scratch: Scratch) => Promise<T>): Promise<T>
  /** Runs a command to its end and returns its stdout. */
  run(command: string, args: readonly string[], options?: { cwd?: string }): Promise<string>
}

/** This machine's own compiler and binutils. */
export class ThisMachine implements Workshop {
  readonly crossPrefix = arch() === 'arm64' ? '' : 'aarch64-linux-gnu-'

  async withScratch<T>(action: (scratch: Scratch) => Promise<T>): Promise<T> {
    const folder = mkdtempSync(join(tmpdir(), 'seawall-'))
    try {
      return await action({ outside: folder, inside: folder })
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }

  async run(command: string, args: readonly string[], options: { cwd?: string } = {}): Promise<string> {
    return await run(command, args, options)
  }
}
