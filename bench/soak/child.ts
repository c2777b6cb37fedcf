import { spawn } from 'node:child_process'
import { lineReader, projectRoot } from '../../scripts/step.ts'

/** How a child ended. */
export interface Ended {
  readonly code: number | null
  /** The signal that ended it; `timeout` where it did not end by itself. */
  readonly signal: string | null
  readonly stderr: string
}

/** Runs Node in the project's folder, and kills it where it takes longer than `limitMs`. */
export async function runChild(
  node: string,
  args: readonly string[],
  options: { limitMs?: number; onLine?: (line: string) => void } = {},
): Promise<Ended> {
  const { limitMs = 60_000, onLine } = options
  const child = spawn(node, args, { cwd: projectRoot, stdio: ['ignore', 'pipe', 'pipe'] })
  let stderr = ''
  const lines = lineReader(onLine)
  child.stdout.on('data', (chunk: Buffer) => lines.push(chunk))
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-10_000)
  })
  let late = false
  const timer = setTimeout(() => {
    late = true
    child.kill('SIGKILL')
  }, limitMs)
  return await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      lines.end()
      resolve({ code, signal: late ? 'timeout' : signal, stderr })
    })
  })
}
