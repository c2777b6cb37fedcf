import test from 'ava'
import { Backlog } from '#cli/live-view/backlog'
import { eventWords } from '#cli/live-view/event-words'
import { ConsoleText } from '#cli/live-view/page/console-text'
import { bytesWords, cellsOf, gridOf } from '#cli/live-view/page/ram-grid'
import { examples } from './event-examples.ts'

for (const [what, text, lines] of [
  ['lines are lines', 'one\ntwo\r\nthree', ['one', 'two', 'three']],
  ['a carriage return begins the line again, and what was there is overwritten', '10%\r20', ['20%']],
  ['a backspace goes back', 'lx\bs -l', ['ls -l']],
  ['a tabulator goes to the next column of eight', 'a\tb', ['a       b']],
  ['colours are left out', '\u001b[1;31mred\u001b[0m', ['red']],
  ['titles are left out', '\u001b]0;title\u0007text\u001b]0;title\u001b\\more', ['textmore']],
  ['a title ends with its line at the latest', '\u001b]0;title\ntext', ['', 'text']],
  ['the end of a line is erased', 'long line\r\u001b[Kshort', ['short']],
  ['a character set is none', '\u001b(Btext\u001b#8', ['text']],
  ['control characters make nothing', 'a\u0000\u0007\u007f\u009bb', ['ab']],
  ['an escape sequence in two pieces is one', ['a\u001b', '[3', '1mb'], ['ab']],
  ['a sequence that never ends is text again with the next line', '\u001b[31\ntext', ['', 'text']],
  ['what turns text around is shown to be there', 'user\u202etxt.exe\u2066', ['user\ufffdtxt.exe\ufffd']],
  ['markup is text', '<img src=x onerror=alert(1)>', ['<img src=x onerror=alert(1)>']],
  ['a line that never ends is broken', 'x'.repeat(2001), ['x'.repeat(1000), 'x'.repeat(1000), 'x']],
] as [string, string | string[], string[]][]) {
  test(`console: ${what}`, (t) => {
    const screen = new ConsoleText()
    for (const part of [text].flat()) screen.write(part)
    t.deepEqual(screen.lines, lines)
  })
}

test('console: only the newest lines are kept', (t) => {
  const screen = new ConsoleText()
  for (let index = 0; index < 5000; index += 1) screen.write(`${index}\n`)
  t.deepEqual(
    [screen.lines.length, screen.dropped, screen.lines[0], screen.lines.at(-2)],
    [2000, 3001, '3001', '4999'],
  )
})

test('console: after a gap text begins on a line of its own, and is no rest of a sequence', (t) => {
  const screen = new ConsoleText()
  screen.write('half a line\u001b[3')
  screen.breakOff()
  screen.write('1m')
  t.deepEqual(screen.lines, ['half a line', '1m'])
})

test('map: a cell is a power of two of at least a page, and there are at most 256', (t) => {
  t.deepEqual(gridOf(4096n), { cellSize: 4096n, cells: 1 })
  t.deepEqual(gridOf(2n ** 20n), { cellSize: 4096n, cells: 256 })
  t.deepEqual(gridOf(2n ** 20n + 1n), { cellSize: 8192n, cells: 129 })
  t.deepEqual(gridOf(512n * 2n ** 20n), { cellSize: 2n ** 21n, cells: 256 })
  t.deepEqual(gridOf(2n ** 44n), { cellSize: 2n ** 36n, cells: 256 })
})

test('map: a cell shows the most urgent state of its pages, and counts them', (t) => {
  const ram = { gpa: 0x8000_0000n, size: 512n * 2n ** 20n }
  const page = (gpa: bigint, state: string, size = 4096) => ({ gpa, size, state })
  const cells = cellsOf(ram, [
    page(0x8000_0000n, 'replaced'),
    page(0x8000_1000n, 'quarantined'),
    page(0x8000_2000n, 'guest-retired'),
    page(0x801f_f000n, 'replaced', 8192),
    page(0x9fff_f000n, 'poisoned'),
    page(0x4000_0000n, 'poisoned'),
    page(0xa000_0000n, 'poisoned'),
  ])
  t.deepEqual(
    [...cells].map(([index, { from, to, pages, state }]) => [index, from, to, pages, state]),
    [
      [0, 0x8000_0000n, 0x8020_0000n, 4, 'quarantined'],
      [1, 0x8020_0000n, 0x8040_0000n, 1, 'replaced'],
      [255, 0x9fe0_0000n, 0xa000_0000n, 1, 'poisoned'],
    ],
  )
})

test('map: sizes are in the greatest unit that divides them', (t) => {
  t.deepEqual([4096n, 2n ** 21n, 2n ** 30n, 1536n, 100n, 0n].map(bytesWords), [
    '4 KiB',
    '2 MiB',
    '1 GiB',
    '1536 bytes',
    '100 bytes',
    '0 bytes',
  ])
})

for (const [type, all] of Object.entries(examples)) {
  test(`words: a ${type} is one line`, (t) => {
    for (const event of all) t.regex(eventWords(event), /^[^\n]{10,}$/)
  })
}

/** Reads a backlog from a position to its end. */
function read(backlog: Backlog<string>, from = { events: 0, characters: 0 }): unknown[] {
  const found: unknown[] = []
  for (let next = backlog.after(from); next !== null; next = backlog.after(next.end)) {
    const { end: _, ...rest } = next
    found.push(rest.kind === 'text' ? rest.text : rest.kind === 'event' ? [rest.event] : rest)
  }
  return found
}

test('backlog: events and text are in the order in which they came', (t) => {
  const backlog = new Backlog<string>()
  for (const what of ['a', 'b', ['1'], ['2'], 'c', ['3'], 'd'])
    if (typeof what === 'string') backlog.addText(what)
    else backlog.addEvent(what[0] ?? '')
  t.deepEqual(read(backlog), ['ab', ['1'], ['2'], 'c', ['3'], 'd'])
  t.deepEqual(read(backlog, { events: 1, characters: 2 }), [['2'], 'c', ['3'], 'd'])
  t.deepEqual(read(backlog, { events: 2, characters: 3 }), [['3'], 'd'])
  t.deepEqual(read(backlog, backlog.end), [])
})

test('backlog: what is gone is counted, from each position', (t) => {
  const backlog = new Backlog<string>()
  for (let index = 1; index <= 1003; index += 1) backlog.addEvent(`${index}`)
  const [lost, first] = read(backlog)
  t.deepEqual([lost, first], [{ kind: 'lost', events: 3, characters: 0 }, ['4']])
  t.deepEqual(read(backlog, { events: 2, characters: 0 })[0], { kind: 'lost', events: 1, characters: 0 })
  t.deepEqual(read(backlog, { events: 3, characters: 0 })[0], ['4'])
})

test('backlog: at least the newest 256 Ki characters are kept, and not much more', (t) => {
  const backlog = new Backlog<string>()
  for (let index = 0; index < 2 ** 20; index += 64) backlog.addText('x'.repeat(64))
  const [lost, ...texts] = read(backlog) as [{ characters: number }, ...string[]]
  const kept = texts.join('').length
  t.is(lost.characters + kept, 2 ** 20)
  t.true(kept >= 256 * 1024 && kept <= 288 * 1024, String(kept))
})
