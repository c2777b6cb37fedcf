import { runChild } from './child.ts'
import { parts } from './parts.ts'
import type { Row, Scale } from './trial.ts'

/** The limit of one process. */
const LIMIT_MS = 10 * 60_000

/** Which trials to run, and with which Node. */
export interface Chosen {
  readonly part: string
  readonly names?: readonly string[]
  readonly node?: string
  /** Behind the name of each row. */
  readonly suffix?: string
}

/** Runs trials, all in one process or each in its own. A process that does not come to its end fails those that are left. */
export async function runTrials(
  chosen: Chosen,
  scale: Scale,
  options: { processes: 'one' | 'each'; onRow: (row: Row) => void },
): Promise<void> {
  const { part, node = process.execPath, suffix = '' } = chosen
  const names = chosen.names ?? Object.keys(parts[part] ?? {})
  const groups = options.processes === 'one' ? [names] : names.map((name) => [name])
  for (const group of groups) {
    const left = [...group]
    const program = ['--expose-gc', 'build/bench/soak/run-trials.js']
    const args = [part, String(scale.size), scale.backend, ...group]
    const onLine = (line: string) => {
      const row = JSON.parse(line) as Row
      left.shift()
      options.onRow({ ...row, name: `${row.name}${suffix}` })
    }
    const { code, signal, stderr } = await runChild(node, [...program, ...args], {
      limitMs: LIMIT_MS,
      onLine,
    })
    if (left.length === 0 && code === 0) continue
    const name = `${left[0] ?? 'the end of the process'}${suffix}`
    const detail = `the process ended by ${signal ?? code}:\n${stderr}`
    options.onRow({ part, name, outcome: 'failed', detail, measured: {} })
  }
}
