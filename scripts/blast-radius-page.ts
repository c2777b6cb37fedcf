import { constants } from 'node:os'
import type { Failure, Half, ObservedRow, RowRecording, Victim, Work } from './blast-radius-recording.ts'
import { ROWS } from './blast-radius-rows.ts'
import { hex } from './demo-recording.ts'
import { type Complaint, complaints } from './guest-complaints.ts'
import type { Fields } from './linux-guest.ts'

/** Of SIGBUS, by number: include/uapi/asm-generic/siginfo.h. */
const BUS_CODES = ['', 'BUS_ADRALN', 'BUS_ADRERR', 'BUS_OBJERR', 'BUS_MCEERR_AR', 'BUS_MCEERR_AO']
const NOTHING = '-'
/** So many lines that differ in numbers alone are shown. */
const FEW = 3

/** The two tables, as Markdown: what was seen when the page was lost, and when the guest then worked on. */
export function renderTables(rows: readonly RowRecording[]): string {
  return [
    'When the page is lost',
    '',
    ...table(
      ['', 'Victim', 'Bystander', 'Retired', 'Guest'],
      rows.map((row) =>
        'error' in row
          ? [title(row.id), 'not observed', '', '', '']
          : [title(row.id), victims(row), bystander(row.first), retired(row.first), guest(row, row.first)],
      ),
    ),
    '',
    'When the guest then forks, executes and allocates',
    '',
    ...table(
      ['', 'Further memory errors', 'Processes', 'Bystander', 'Guest'],
      rows.map((row) => [title(row.id), ...secondHalf(row)]),
    ),
    '',
  ].join('\n')
}

/** A row in full, as Markdown. */
export function renderRow(row: RowRecording): string {
  if ('error' in row) return [`### ${title(row.id)}`, '', `Not observed: ${row.error}`, ''].join('\n')
  const { failures, kernelLog, second, exit, seed } = row
  const said = complaints(kernelLog).map(complaint)
  return [
    `### ${title(row.id)}`,
    '',
    ...(seed === null ? [] : [`Chosen by seed ${hex(seed)}.`, '']),
    ...list('Events', alike(failures.map(failure))),
    ...list("The guest's kernel said", alike(said)),
    ...list('Processes that were lost', second?.lost.map(fields) ?? []),
    `${pages(row)}The guest ${exit === null ? 'ran on' : `ended: ${exit.error ?? exit.reason}`}.`,
    '',
  ].join('\n')
}

function title(id: string): string {
  const row = ROWS.find((one) => one.id === id)
  return row === undefined ? id : `${row.who}, ${row.what}`
}

/** How the victims came off. */
export function victims({ victims, first }: ObservedRow): string {
  const said = counted(victims.map((one) => victim(one, first)))
  return (
    said.map(([text, count]) => (count === 1 || text === NOTHING ? text : `${count} × ${text}`)).join('; ') ||
    NOTHING
  )
}

function victim({ signal, end, survived, process }: Victim, first: Half): string {
  if (end === null) {
    if (process !== null) return `hangs in ${process['function']}`
    return first.answers ? 'no end seen' : NOTHING
  }
  if (end.signal === 0) return survived === null ? `exit code ${end.exit}` : `lives: ${survived}`
  const code = signal !== null && signal.number === end.signal ? `, ${busCode(signal)}` : ''
  return `${signalName(end.signal)}${code}`
}

function busCode({ number, code }: { readonly number: number; readonly code: number }): string {
  const name = number === constants.signals.SIGBUS ? BUS_CODES[code] : undefined
  return name ?? `si_code ${code}`
}

function signalName(number: number): string {
  const found = Object.entries(constants.signals).find(([, value]) => value === number)
  return found?.[0] ?? `signal ${number}`
}

/** Whether the bystander gets on. */
export function bystander({ bystander: counts }: Half): string {
  if (counts === null) return NOTHING
  return counts.after > counts.before ? 'counts on' : `stands at ${counts.after}`
}

/** How much memory the guest's kernel has given up. */
export function retired({ retiredKib }: Half): string {
  return retiredKib === null ? NOTHING : `${retiredKib} KiB`
}

/** Whether the guest lives. */
export function guest({ exit, kernelLog }: ObservedRow, half: Half): string {
  if (half.answers) return 'answers'
  const panic = complaints(kernelLog).find(({ text }) => text.startsWith('Kernel panic'))
  if (panic !== undefined) return panic.text.replace('Kernel panic - not syncing', 'panic')
  return exit === null ? 'silent' : `ended: ${exit.error ?? exit.reason}`
}

function secondHalf(row: RowRecording): string[] {
  if ('error' in row || row.second === null) return [NOTHING, NOTHING, NOTHING, NOTHING]
  const { second, failures } = row
  const further = failures.filter(({ half }) => half === 2)
  return [consumers(further), processes(second), bystander(second), guest(row, second)]
}

/** Who met the page, how often. */
export function consumers(failures: readonly Failure[]): string {
  const count = (mode: 'user' | 'kernel'): number =>
    failures.filter(({ consumer }) => consumer?.mode === mode).length
  if (failures.length === 0) return 'none'
  return (['kernel', 'user'] as const)
    .filter((mode) => count(mode) > 0)
    .map((mode) => `${count(mode)} in ${mode} mode`)
    .join(', ')
}

/** What became of the guest's work. */
export function processes({ work, processes: all, lost }: Work): string {
  const workers = lost.filter(({ program }) => program === 'stress')
  const killed = workers.filter(({ signal }) => signal !== undefined).length + (work?.badly ?? 0)
  const hanging = workers.filter(({ task }) => task === 'D').length + (work?.never ?? 0)
  return [
    work === null ? 'not done' : `${work.well} of ${all} ended well`,
    ...(killed > 0 ? [`${killed} killed`] : []),
    ...(hanging > 0 ? [`${hanging} hangs`] : []),
  ].join(', ')
}

function failure(one: Failure): string {
  const { half, source, consumer, action, gpa, abort, injection, deferral, notified } = one
  const at = consumer === null ? '' : `, ${consumer.mode} mode, pc ${hex(consumer.pc)}`
  const syndrome = abort === null ? '' : `, esr ${hex(abort.esr)}`
  const told = notified === null ? '' : `, told by ${notified.source}`
  const put =
    deferral === null
      ? ''
      : `, deferred ${deferral.retries} times in ${Math.round(deferral.ms)} ms: ${deferral.outcome}`
  const did = injection === null ? '' : ` (${injection.method}, ESR_EL1 ${hex(injection.esr)})`
  return `${half === 1 ? 'first' : 'second'} half: ${source}, page ${hex(gpa)}${at}${syndrome}: ${action}${did}${told}${put}`
}

/** A complaint in a line. */
export function complaint({ text, process, place }: Complaint): string {
  const who = process === null ? '' : `, in ${process}`
  return `${text}${who}${place === null ? '' : `, at ${place}`}`
}

function fields(one: Fields): string {
  return Object.entries(one)
    .map(([key, value]) => `${key} ${value}`)
    .join(', ')
}

/** In what state the lost pages are at the end. */
function pages({ pages: all }: ObservedRow): string {
  if (all.length === 0) return ''
  const states = counted(all.map(({ state }) => state)).map(([state, count]) => `${count} ${state}`)
  return `Lost pages: ${states.join(', ')}. `
}

/** The same lines, but those that differ from a few others in numbers alone are counted. */
function alike(lines: readonly string[]): string[] {
  const shape = (line: string): string => line.replace(/0x[0-9a-f]+|\d+(\.\d+)?/g, '0')
  const kinds = new Map(counted(lines.map(shape)))
  const shown = new Set<string>()
  return lines.flatMap((line) => {
    const others = (kinds.get(shape(line)) ?? 1) - 1
    if (others < FEW) return [line]
    if (shown.has(shape(line))) return []
    shown.add(shape(line))
    return [`${line} (and ${others} more that differ in numbers alone)`]
  })
}

/** Each text once, in the order of first appearance, and how often it was there. */
function counted(texts: readonly string[]): [string, number][] {
  const counts = new Map<string, number>()
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1)
  return [...counts]
}

function list(heading: string, items: readonly string[]): string[] {
  if (items.length === 0) return []
  return [`${heading}:`, '', ...items.map((item) => `- ${item}`), '']
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = head.map((name, column) =>
    Math.max(3, name.length, ...rows.map((row) => row[column]?.length ?? 0)),
  )
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)]
}
