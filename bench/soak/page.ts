import type { Row } from './trial.ts'

const MARKS = { passed: '✓', failed: '✗', 'not run': '–' } as const

/** A table for each part, a line for each trial, and the sum of all. */
export function renderRows(rows: readonly Row[]): string {
  const lines: string[] = []
  const width = Math.max(0, ...rows.map(({ name }) => name.length))
  for (const part of new Set(rows.map((row) => row.part))) {
    lines.push('', part)
    for (const { outcome, name, measured, detail } of rows.filter((row) => row.part === part)) {
      const numbers = Object.entries(measured).map(([what, value]) => `${what} ${value}`)
      lines.push(`  ${MARKS[outcome]} ${name.padEnd(width)}  ${numbers.join(', ')}`.trimEnd())
      if (detail !== null) lines.push(...detail.split('\n').map((line) => `      ${line}`))
    }
  }
  const count = (wanted: Row['outcome']) => rows.filter(({ outcome }) => outcome === wanted).length
  const notRun = count('not run') === 0 ? '' : `, ${count('not run')} not run`
  return [...lines, '', `${count('passed')} passed, ${count('failed')} failed${notRun}`, ''].join('\n')
}
