import type { Measurement } from './measurement.ts'

/** A number with as many digits as say something. */
export function digits(value: number): string {
  if (Number.isInteger(value)) return String(value)
  const places = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 3
  return value.toFixed(places)
}

/** The measurement's target, in words; empty where there is none. */
export function targetWords({ target, ratio, unit }: Measurement): string {
  if (target === undefined) return ''
  return ratio === undefined ? `≤ ${digits(target)} ${unit}` : `≤ ${digits(target)} ×`
}

/** Whether the target is met, in a word; empty where there is none. */
export function metWord({ met }: Measurement): string {
  return met === null ? '' : met ? 'met' : 'not met'
}

/** The lines of one part, for a terminal. */
export function renderMeasurements(name: string, measurements: readonly Measurement[]): string {
  const cells = measurements.map((measured) => [
    measured.name,
    `${digits(measured.value)} ${measured.unit}`,
    measured.reference === undefined ? '' : `${measured.reference.name}: ${digits(measured.reference.value)}`,
    measured.ratio === undefined ? '' : `${measured.ratio.toFixed(3)} ×`,
    [targetWords(measured), metWord(measured)].filter((word) => word !== '').join(', '),
  ])
  const width = (column: number) => Math.max(0, ...cells.map((row) => row[column]?.length ?? 0))
  const lines = cells.map((row) =>
    `  ${row.map((cell, column) => cell.padEnd(width(column))).join('  ')}`.trimEnd(),
  )
  return ['', name, ...lines, ''].join('\n')
}
