import type { BenchPart, Measurement } from './measurement.ts'
import { digits, metWord, targetWords } from './page.ts'
import type { Recording } from './recording.ts'

/** Writes docs/performance.md: the words are the parts', the numbers the recording's. */
export function renderDocument(parts: readonly BenchPart[], recording: Recording): string {
  const sections = parts.map((part) => renderPart(part, recording.parts[part.name]))
  return `${INTRO}\n${sections.join('\n')}`
}

const INTRO = `# Performance

\`npm run bench\` takes these measurements, and \`npm run bench -- --record\` writes this page. A target is a ratio wherever
that can be: both sides are measured in the same run, so that a slow machine is slow for both. A number without a reference
is one of the machine named below its table, and of no other.

**Before** is what the code took before it was made faster, each with the reference of its time; where that has changed since,
the part says so. **Now** is the last run that was recorded, and a row that came later has no before. A ratio is the value
divided by that of the reference in the same run.
`

function renderPart(part: BenchPart, recorded: Recording['parts'][string] | undefined): string {
  const head = `## ${part.name}\n\n${part.describe}\n`
  if (recorded === undefined) return `${head}\nNot recorded yet.\n`
  const { before, after } = recorded
  const rows = after.measurements.map((now) => {
    const then = before.measurements.find(({ name }) => name === now.name)
    const was = then === undefined ? '–' : amount(then)
    const cells = [now.name, was, amount(now), reference(now), targetWords(now), metWord(now)]
    return cells
  })
  const table = renderTable([['measurement', 'before', 'now', 'reference', 'target', ''], ...rows])
  const notes = after.measurements.flatMap(({ name, note }) =>
    note === undefined ? [] : [`- ${name}: ${note}`],
  )
  const hosts = after.host === before.host ? after.host : `${after.host}; before on ${before.host}`
  const blocks = [head, table, '', ...(notes.length > 0 ? [...notes, ''] : []), `Measured on ${hosts}.`, '']
  if (part.findings !== undefined) blocks.push(part.findings, '')
  return blocks.join('\n')
}

/** A table as Biome formats it; the first row is the head. */
function renderTable(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(3, ...rows.map((row) => row[column]?.length ?? 0)),
  )
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  const [head = '', ...body] = rows.map((row) => line(row.map((cell, at) => cell.padEnd(widths[at] ?? 0))))
  return [head, line(widths.map((width) => '-'.repeat(width))), ...body].join('\n')
}

function amount({ value, unit, ratio }: Measurement): string {
  const words = `${digits(value)} ${unit}`
  return ratio === undefined ? words : `${words} (${ratio.toFixed(ratio < 2 ? 3 : 2)} ×)`
}

function reference({ reference, unit }: Measurement): string {
  return reference === undefined ? '' : `${reference.name}: ${digits(reference.value)} ${unit}`
}
