import type { PoisonedPage } from '../../../events.js'
import type { Json } from '../wire.js'
import { element, find, oncePerFrame } from './elements.js'
import { bytesWords, cellsOf, gridOf, STATES } from './ram-grid.js'

/** How many pages the table has; a VM may lose thousands. */
const ROWS = 100

const LETTERS: Readonly<Record<string, string>> = {
  poisoned: 'P',
  quarantined: 'Q',
  'guest-retired': 'G',
  'host-offlined': 'H',
  replaced: 'R',
}

/** The map of guest RAM with its lost pages, and a table of them. */
export class PageMap {
  readonly #grid = find('grid')
  #ram = { gpa: 0n, size: 0n }
  /** Every lost page, by its address. */
  readonly #pages = new Map<string, Json<PoisonedPage>>()
  /** The cells that are marked now. */
  #marked = new Set<number>()
  readonly #draw = oncePerFrame(() => this.#drawAll())

  /** The map of a guest's RAM, with no page lost. */
  begin(ram: { gpa: string; size: number }): void {
    this.#ram = { gpa: BigInt(ram.gpa), size: BigInt(ram.size) }
    this.#pages.clear()
    this.#marked.clear()
    const { cellSize, cells } = gridOf(this.#ram.size)
    this.#grid.replaceChildren(...Array.from({ length: cells }, () => element('span', 'cell')))
    find('ram-from').textContent = hex(this.#ram.gpa)
    find('ram-to').textContent = hex(this.#ram.gpa + this.#ram.size)
    find('cell-size').textContent =
      `${bytesWords(this.#ram.size)} of guest RAM, ${bytesWords(cellSize)} a cell`
    this.#draw()
  }

  set(page: Json<PoisonedPage>): void {
    this.#pages.set(page.gpa, page)
    this.#draw()
  }

  /** A page as a failure tells of it. */
  hit(page: { gpa: string; size: number; hits: number; state: PoisonedPage['state'] }, seen: Seen): void {
    const { gpa, size, hits, state } = page
    const { firstSeen, source } = this.#pages.get(gpa) ?? seen
    this.set({ gpa, size, hits, state, firstSeen, source })
  }

  replace(pages: readonly Json<PoisonedPage>[]): void {
    this.#pages.clear()
    for (const page of pages) this.#pages.set(page.gpa, page)
    this.#draw()
  }

  #drawAll(): void {
    const pages = [...this.#pages.values()]
    const mapped = pages.map(({ gpa, size, state }) => ({ gpa: BigInt(gpa), size, state }))
    const cells = cellsOf(this.#ram, mapped)
    for (const index of this.#marked) if (!cells.has(index)) this.#mark(index, 'cell', '', '')
    for (const [index, { from, to, pages: count, state }] of cells) {
      const what = `${count} lost ${count === 1 ? 'page' : 'pages'}, ${state}, in ${hex(from)} to ${hex(to - 1n)}`
      this.#mark(index, `cell lost ${state}`, LETTERS[state] ?? '?', what)
    }
    this.#marked = new Set(cells.keys())
    this.#drawWords(pages)
    const newest = pages.slice(-ROWS).reverse()
    find('pages').replaceChildren(...newest.map(row))
    find('page-table').hidden = pages.length === 0
    find('no-pages').hidden = pages.length > 0
    find('more-pages').textContent =
      pages.length > ROWS ? `The newest ${ROWS} of ${pages.length.toLocaleString('en')} pages.` : ''
  }

  #mark(index: number, className: string, letter: string, title: string): void {
    const cell = this.#grid.children[index]
    if (!(cell instanceof HTMLElement)) return
    cell.className = className
    cell.textContent = letter
    cell.title = title
  }

  #drawWords(pages: readonly Json<PoisonedPage>[]): void {
    const counts = STATES.map(
      (state) => [state, pages.filter((page) => page.state === state).length] as const,
    )
    for (const [state, count] of counts) find(`count-${state}`).textContent = count.toLocaleString('en')
    const words = counts
      .filter(([, count]) => count > 0)
      .map(([state, count]) => `${count.toLocaleString('en')} ${state}`)
    find('lost-pages').textContent = pages.length.toLocaleString('en')
    find('lost-pages-states').textContent = words.join(', ') || 'none'
    this.#grid.setAttribute('aria-label', `Map of guest RAM. Lost pages: ${words.join(', ') || 'none'}`)
  }
}

interface Seen {
  readonly firstSeen: string
  readonly source: PoisonedPage['source']
}

function row(page: Json<PoisonedPage>): HTMLElement {
  const state = element('span', `state ${page.state}`, page.state)
  const time = element('time', '', page.firstSeen.slice(11, 19))
  time.dateTime = page.firstSeen
  time.title = page.firstSeen
  return element(
    'tr',
    '',
    element('td', 'mono', page.gpa),
    element('td', '', bytesWords(BigInt(page.size))),
    element('td', '', state),
    element('td', 'number', String(page.hits)),
    element('td', 'mono', page.source),
    element('td', 'mono', time),
  )
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`
}
