import { escapeHtml } from './highlight.ts'
import { ACTORS, type Actor, STEPS } from './memory-error.ts'

/** Narrow enough that a phone shows it without shrinking its letters. */
const WIDTH = 400
const MARGIN = 8
const BAR = 6
const LINE = 18
const GAP = 22
/** How many letters of the detail's size fit into a box. */
const LETTERS = 47

const COLOURS: Record<Actor, readonly [light: string, dark: string]> = {
  guest: ['#8250df', '#b794f6'],
  host: ['#9a6700', '#e0b040'],
  vcpu: ['#0757b0', '#6cb2ff'],
  javascript: ['#1a7f37', '#56d364'],
}

/** The way of a memory error as an SVG picture, in light and dark. */
export function memoryErrorDiagram(): string {
  const parts: string[] = []
  let y = MARGIN
  for (const [index, { actor, title, detail }] of STEPS.entries()) {
    const lines = wrap(detail)
    const height = 54 + lines.length * LINE
    if (index > 0) parts.push(arrow(y))
    if (index > 0) y += GAP
    const text = (row: number, of: string, name: string) =>
      `<text class="${name}" x="${MARGIN + BAR + 14}" y="${y + row}">${escapeHtml(of)}</text>`
    parts.push(
      `<g><rect class="box" x="${MARGIN}" y="${y}" width="${WIDTH - 2 * MARGIN}" height="${height}" rx="6"/>`,
      `<rect class="${actor}" x="${MARGIN}" y="${y}" width="${BAR}" height="${height}" rx="3"/>`,
      text(20, ACTORS[actor], `actor ${actor}`),
      text(40, `${index + 1}. ${title}`, 'title'),
      ...lines.map((line, row) => text(60 + row * LINE, line, 'detail')),
      '</g>',
    )
    y += height
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y + MARGIN}" width="${WIDTH}" height="${y + MARGIN}" role="img" aria-labelledby="title">
<title id="title">How a memory error travels: ${STEPS.length} steps from the guest's access to the guest that goes on</title>
<style>
${style()}
</style>
${parts.join('\n')}
</svg>
`
}

function arrow(y: number): string {
  const x = WIDTH / 2
  const end = y + GAP
  return `<path class="arrow" d="M${x} ${y}V${end - 7}M${x - 5} ${end - 9}L${x} ${end - 2}L${x + 5} ${end - 9}"/>`
}

function style(): string {
  const colours = (which: 0 | 1) =>
    Object.entries(COLOURS).map(([actor, colour]) => `.${actor} { fill: ${colour[which]}; }`)
  return [
    'text { font-family: system-ui, sans-serif; }',
    '.box { fill: #ffffff; stroke: #d0d7de; }',
    '.title { font-size: 15px; font-weight: 600; fill: #1b1f24; }',
    '.detail { font-size: 13px; fill: #444c56; }',
    '.actor { font-size: 11px; font-weight: 600; }',
    '.arrow { fill: none; stroke: #57606a; stroke-width: 1.5; }',
    ...colours(0),
    '@media (prefers-color-scheme: dark) {',
    '.box { fill: #181f27; stroke: #333c47; }',
    '.title { fill: #dde3ea; }',
    '.detail { fill: #b6c0cb; }',
    '.arrow { stroke: #9aa5b1; }',
    ...colours(1),
    '}',
  ].join('\n')
}

function wrap(text: string): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`
    if (longer.length > LETTERS) {
      lines.push(line)
      line = word
    } else line = longer
  }
  return [...lines, line]
}
