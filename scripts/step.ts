import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const parent = dirname(dirname(fileURLToPath(import.meta.url)))
/** The project's folder. This file runs from build/scripts, and where a release is published from scripts/. */
export const projectRoot = import.meta.url.endsWith('.ts') ? parent : dirname(parent)

/** The project's version. */
export function projectVersion(): string {
  const { version } = JSON.parse(readFileSync(join(projectRoot, 'package.json'), 'utf8')) as {
    version: string
  }
  return version
}

/** A step that did not end well; the message is for people. */
export class StepError extends Error {}

/** How to run a command. */
export interface StepOptions {
  env?: Record<string, string>
  /** Called with every line of stdout and stderr, which are shown all the same. */
  onLine?: (line: string) => void
  /** Return the exit code instead of throwing where it is not 0. */
  allowFailure?: boolean
}

/** What to install where a program is missing. */
const INSTALL: Record<string, string> = {
  cargo: 'a Rust toolchain (1.88 or newer) from https://rustup.rs',
  cc: 'a C toolchain: apt-get install build-essential',
}

/** Runs a command in the project's folder and shows what it prints. Returns its exit code. */
export async function step(
  command: string,
  args: readonly string[],
  options: StepOptions = {},
): Promise<number> {
  const line = [command, ...args].join(' ')
  process.stderr.write(`\n$ ${line}\n`)
  const child = spawn(command, args, {
    cwd: projectRoot,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  for (const [source, target] of [
    [child.stdout, process.stdout],
    [child.stderr, process.stderr],
  ] as const) {
    const lines = lineReader(options.onLine)
    source.on('data', (chunk: Buffer) => {
      target.write(chunk)
      lines.push(chunk)
    })
    source.on('end', () => lines.end())
  }
  const code = await new Promise<number>((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      const missing = error.code === 'ENOENT' ? `; install ${INSTALL[command] ?? command}` : ''
      reject(new StepError(`${command} could not be started (${error.code})${missing}`))
    })
    child.once('close', (exit, signal) => resolve(exit ?? (signal === null ? 1 : 128)))
  })
  if (code !== 0 && options.allowFailure !== true) throw new StepError(`${line} ended with exit code ${code}`)
  return code
}

/** Splits chunks into lines. */
export function lineReader(onLine: ((line: string) => void) | undefined): {
  push(chunk: Uint8Array): void
  end(): void
} {
  const decoder = new TextDecoder()
  let rest = ''
  return {
    push(chunk) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) onLine?.(line)
    },
    end() {
      if (rest !== '') onLine?.(rest)
      rest = ''
    },
  }
}

/** Runs a program that an npm package brings, by its path inside the package. */
export async function packageStep(
  path: string,
  args: readonly string[],
  options?: StepOptions,
): Promise<number> {
  const program = join(projectRoot, 'node_modules', path)
  if (!existsSync(program)) throw new StepError(`${path} is missing; run npm install`)
  return step(process.execPath, [program, ...args], options)
}

/** Ends the process as a program for people: the message without a stack, and exit code 1. */
export async function main(run: () => Promise<void>): Promise<void> {
  try {
    await run()
  } catch (error) {
    const message =
      error instanceof StepError ? error.message : error instanceof Error ? error.stack : String(error)
    process.stderr.write(`\n${message}\n`)
    process.exitCode = 1
  }
}
