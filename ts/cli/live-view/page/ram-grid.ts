/** What of a lost page the map needs. Addresses are in bytes. */
export interface MappedPage {
  readonly gpa: bigint
  readonly size: number
  readonly state: string
}

/** How urgent a state is: the map's cell shows the first of these that one of its pages has. */
export const STATES = ['poisoned', 'quarantined', 'guest-retired', 'host-offlined', 'replaced'] as const

/** A stretch of guest RAM as the map shows it. */
export interface Cell {
  readonly from: bigint
  readonly to: bigint
  /** How many lost pages it touches, and the most urgent of their states. */
  readonly pages: number
  readonly state: string
}

/** How many cells the map has at most. */
const CELLS = 256
const SMALLEST_CELL = 4096n

/** The size of a cell of the map, a power of two in bytes, and how many cells there are. */
export function gridOf(size: bigint): { cellSize: bigint; cells: number } {
  let cellSize = SMALLEST_CELL
  while (cellSize * BigInt(CELLS) < size) cellSize *= 2n
  return { cellSize, cells: Math.max(1, Number((size + cellSize - 1n) / cellSize)) }
}

/** The cells that hold lost pages, by their number. */
export function cellsOf(ram: { gpa: bigint; size: bigint }, pages: Iterable<MappedPage>): Map<number, Cell> {
  const { cellSize, cells } = gridOf(ram.size)
  const found = new Map<number, Cell>()
  for (const { gpa, size, state } of pages) {
    const first = Number((gpa - ram.gpa) / cellSize)
    const last = Number((gpa + BigInt(size) - 1n - ram.gpa) / cellSize)
    if (gpa < ram.gpa) continue
    for (let index = first; index <= last && index < cells; index += 1) {
      const before = found.get(index)
      const from = ram.gpa + BigInt(index) * cellSize
      found.set(index, {
        from,
        to: from + cellSize,
        pages: (before?.pages ?? 0) + 1,
        state: before === undefined ? state : moreUrgent(before.state, state),
      })
    }
  }
  return found
}

function moreUrgent(one: string, other: string): string {
  const rank = (state: string) => (STATES as readonly string[]).indexOf(state)
  return rank(other) < rank(one) ? other : one
}

/** A number of bytes for people. */
export function bytesWords(bytes: bigint): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  let unit = 0
  while (value >= 1024n && value % 1024n === 0n && unit < units.length - 1) {
    value /= 1024n
    unit += 1
  }
  return `${value} ${units[unit]}`
}
