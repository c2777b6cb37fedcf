import type { Check } from './demo-checks.ts'

const WIDTH = 100
const LABEL_WIDTH = 12
export const INDENT = ' '.repeat(LABEL_WIDTH)
/** Bold, green and red, by how a line begins. */
const STYLES: readonly (readonly [start: RegExp, style: number])[] = [
  [/^(Seawall|Act|Run) /, 1],
  [/^( {2}✓|All )/, 32],
  [/^( {2}✗|\d)/, 31],
]

/** A page of these lines. */
export function joined(lines: readonly string[], colours: boolean): string {
  return `${lines.map((line) => (colours ? paint(line) : line)).join('\n')}\n`
}

/** A line for each check, or more. */
export function marks(checks: readonly Check[]): string[] {
  return checks.flatMap(({ ok, name, expected, received }) =>
    ok
      ? wrapped('  ✓ ', `${name}: ${received}`)
      : wrapped('  ✗ ', `${name}: expected ${expected} but received ${received}`),
  )
}

/** What is said of one thing. */
export function entry(label: string, text: string): string[] {
  return wrapped(`  ${label}`.padEnd(LABEL_WIDTH), text)
}

/** `text` after `first`, broken between words where it is too long; further lines are indented as far. */
export function wrapped(first: string, text: string): string[] {
  const room = WIDTH - first.length
  const lines: string[] = []
  let rest = text
  while (rest.length > room) {
    const space = rest.lastIndexOf(' ', room)
    const end = space > 0 ? space : room
    lines.push(rest.slice(0, end))
    rest = rest.slice(end).trimStart()
  }
  return [...lines, rest].map((line, index) =>
    `${index === 0 ? first : ' '.repeat(first.length)}${line}`.trimEnd(),
  )
}

function paint(line: string): string {
  const [, style] = STYLES.find(([start]) => start.test(line)) ?? []
  return style === undefined ? line : `\u001b[${style}m${line}\u001b[0m`
}
