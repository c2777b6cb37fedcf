import { execFile } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { projectRoot } from '../../scripts/step.ts'

/** What the addon in C exports. */
export interface EchoBinding {
  start(ask: (round: number) => number, rounds: number, pauseNs: number): object
  took(echo: object): number[]
}

/** The folder of Node's headers. */
export function nodeHeaders(): string {
  const headers = join(dirname(dirname(process.execPath)), 'include', 'node')
  if (existsSync(join(headers, 'node_api.h'))) return headers
  throw new Error(`Expected Node's headers in ${headers}, where Node's own archives have them`)
}

/** Builds the addon in C that the others are compared with, and loads it. */
export async function loadEcho(): Promise<EchoBinding> {
  const headers = nodeHeaders()
  const folder = join(projectRoot, 'build', 'bench', 'echo')
  mkdirSync(folder, { recursive: true })
  const addon = join(folder, `echo-${process.version}.node`)
  const source = join(projectRoot, 'bench', 'echo', 'echo.c')
  const flags = ['-O2', '-Wall', '-Werror', '-shared', '-fPIC', '-pthread', '-I', headers]
  await promisify(execFile)('cc', [...flags, '-o', addon, source])
  return createRequire(import.meta.url)(addon) as EchoBinding
}

/** Lets threads ask `rounds` times each, with a pause before each question; returns how long each waited, in nanoseconds. */
export async function runEcho(
  binding: EchoBinding,
  options: { threads: number; rounds: number; pauseNs: number },
): Promise<number[]> {
  const { threads, rounds, pauseNs } = options
  const asked = Array.from({ length: threads }, async () => {
    let echo: object | undefined
    await new Promise<void>((resolve) => {
      echo = binding.start(
        (round) => {
          if (round === rounds - 1) resolve()
          return 0
        },
        rounds,
        pauseNs,
      )
    })
    return echo === undefined ? [] : binding.took(echo)
  })
  return (await Promise.all(asked)).flat()
}
