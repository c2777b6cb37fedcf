import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Ajv2020 } from 'ajv/dist/2020.js'
import test from 'ava'
import { diagnose } from '#cli/diagnosis'
import type { Option } from '#cli/options'
import { run } from '#cli/run'
import { RUN_OPTIONS } from '#cli/run-options'
import { memoryErrorDiagram } from '../scripts/docs/diagram.ts'
import { STEPS } from '../scripts/docs/memory-error.ts'
import { groups } from '../scripts/docs/pages.ts'
import { Anchors } from '../scripts/docs/slug.ts'
import { examples } from './event-examples.ts'
import { fieldPaths, typeShape, typeWords } from './event-shapes.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
/** Every page of Markdown in the project. */
const all = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], {
  cwd: root,
  encoding: 'utf8',
})
  .trimEnd()
  .split('\n')
  .filter((page) => existsSync(join(root, page)))
const pages = all.filter((page) => page.startsWith('docs/'))

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8')
}

/** The text without code blocks, in which nothing is a heading or a link. */
function prose(path: string): string {
  return read(path).replace(/^```.*?^```$/gms, '')
}

/** The sections of a page by their heading of the second level. */
function sections(path: string): Map<string, string> {
  const [, ...parts] = read(path).split(/^## /m)
  return new Map(
    parts.map((part) => {
      const end = part.indexOf('\n')
      return [part.slice(0, end).replaceAll('`', ''), part.slice(end)]
    }),
  )
}

/** The anchors of a page: GitHub makes them of the headings. */
function anchors(path: string): string[] {
  const made = new Anchors()
  return [...prose(path).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    made.next(heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')),
  )
}

test('every page of Markdown is looked at', (t) => {
  t.true(all.length >= 20)
  for (const page of ['README.md', 'docs/start.md', 'lab/sea-inject/README.md'])
    t.true(all.includes(page), page)
})

for (const page of all) {
  test(`the relative links of ${page} lead somewhere`, (t) => {
    const links = [...prose(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link)
    for (const link of links.filter((found) => !/^(https?|mailto):/.test(found))) {
      const [path = '', anchor] = link.split('#')
      const target = path === '' ? page : join(dirname(page), path)
      t.true(existsSync(join(root, target)), `${link} is not there`)
      if (anchor !== undefined) t.true(anchors(target).includes(anchor), `${link} has no such heading`)
    }
    t.pass()
  })
}

test('docs/memory-error.svg is what its steps draw, and its page has a section on each', (t) => {
  t.is(read('docs/memory-error.svg'), memoryErrorDiagram(), 'run npm run docs')
  const [, ...found] = [...read('docs/memory-errors.md').matchAll(/^##? (.+)$/gm)].map(([, title]) => title)
  t.deepEqual(
    found,
    STEPS.map(({ title }) => title),
  )
})

test('the navigation of the site has every page of docs/, each in a place that it was given', (t) => {
  const sources = groups().flatMap((group) => group.sources)
  for (const page of pages) t.true(sources.includes(page), page)
  t.false(
    groups().some(({ title }) => title === 'More'),
    'scripts/docs/pages.ts names no place for a page',
  )
})

test('README.md links every page of docs/', (t) => {
  for (const page of pages) {
    t.true(read('README.md').includes(`](${page})`), page)
  }
})

test('docs/errors.md has a section and a row for every code, and for nothing else', (t) => {
  const codes = typeWords(join(root, 'dist', 'errors.d.ts'), 'SeawallErrorCode')
  t.true(codes.length >= 15)
  const found = sections('docs/errors.md')
  for (const code of codes) {
    t.regex(found.get(code) ?? '', /- \*\*Means\*\*: .*- \*\*Do\*\*: /s, `${code} has no section`)
    t.true(read('docs/errors.md').includes(`| [\`${code}\`](#${code.toLowerCase()})`), `${code} has no row`)
  }
  const sectionsOfCodes = [...found.keys()].filter((title) => title.startsWith('ERR_'))
  t.deepEqual(sectionsOfCodes.sort(), codes.sort())
})

/** The cells of a page's tables whose row begins with a word in backquotes, by that word. */
function rows(path: string): Map<string, string[]> {
  const found = [...read(path).matchAll(/^\| `([^`]+)`[^|]*\|(.*)\|$/gm)]
  return new Map(
    found.map(([, word = '', cells = '']) => [word, cells.split('|').map((cell) => cell.trim())]),
  )
}

test('docs/events.md has a row for every counter of vm.stats()', (t) => {
  const section = sections('docs/events.md').get('Counters') ?? ''
  const fields = fieldPaths(join(root, 'dist', 'stats.d.ts'), 'VmStats')
  t.true(fields.includes('exits') && fields.includes('decisions.asked'))
  for (const field of fields) t.true(section.includes(`| \`${field}\``), field)
})

test('docs/policies.md has a row for every option of memoryFailure', (t) => {
  const section = sections('docs/policies.md').get('Options') ?? ''
  const fields = fieldPaths(join(root, 'dist', 'options.d.ts'), 'MemoryFailurePolicy')
  t.true(fields.includes('sameFaultLimit'))
  for (const field of fields) t.true(section.includes(`| \`${field.split('.')[0]}\``), field)
})

test('docs/cli.md has a row for every option of seawall run, with its default', (t) => {
  const found = rows('docs/cli.md')
  for (const [name, option] of Object.entries<Option>(RUN_OPTIONS)) {
    const [left, right] = option.optional ? '[]' : '<>'
    const value = option.value === undefined ? '' : ` ${left}${option.value.replaceAll('|', '\\|')}${right}`
    const cells = found.get(`--${name}${value}`)
    t.true(cells !== undefined, `--${name}${value}`)
    const [, fallback] = /\(([^)]+)\)(?:$|;)/m.exec(option.help) ?? []
    if (fallback !== undefined) t.is(cells?.[0], `\`${fallback}\``, name)
  }
})

test('docs/cli.md says what every exit code of seawall run means, as its help does', (t) => {
  const found = rows('docs/cli.md')
  for (const [code, meaning] of run.exitCodes ?? []) t.is(found.get(code)?.[0]?.replaceAll('`', ''), meaning)
})

test('docs/cli.md has a row for every check of the doctor', (t) => {
  const capabilities = {
    armSeaToUser: false,
    ras: false,
    injectExtDabt: false,
    nisvToUser: false,
    userfaultfd: false,
    hwpoison: false,
  }
  const checks = diagnose({
    platform: 'linux',
    arch: 'arm64',
    kernel: '0',
    addonPackage: null,
    support: { status: 'unsupported', reasons: [], kernel: '0', capabilities },
    kvm: { open: 'ok', group: null },
    capabilities: 0n,
    seccomp: true,
    lockedMemory: 0,
    swaps: ['/swap'],
    shmemEnabled: 'always',
    hugePages: [{ kib: 2048, total: 0, free: 0 }],
    vm: {
      compact_unevictable_allowed: 1,
      max_map_count: 0,
      memory_failure_early_kill: 1,
      memory_failure_recovery: 0,
      unprivileged_userfaultfd: 0,
    },
  })
  const found = rows('docs/cli.md')
  for (const { id } of checks) t.true(found.get(id) !== undefined, id)
  // On the worst of hosts whose device can be opened, all but these have something to say.
  const wrong = checks.filter(({ status }) => status !== 'ok')
  t.deepEqual(
    checks.filter(({ status }) => status === 'ok').map(({ id }) => id),
    ['addon', 'platform', 'kvm', 'huge-pages'],
  )
  for (const { id, status } of wrong) t.is(found.get(id)?.[1], `\`${status}\``, id)
})

const shape = typeShape(join(root, 'dist', 'events.d.ts'), 'VmEvent')
const COMMON = ['type', 'schemaVersion', 'seq', 'time', 'monotonicNs']

test('docs/events.md names the fields that every event has', (t) => {
  const section = sections('docs/events.md').get('What every event has') ?? ''
  for (const field of COMMON) t.true(section.includes(`\`${field}\``), field)
})

for (const type of Object.keys(examples)) {
  test(`docs/events.md has a section on ${type}, with every field and every word of it`, (t) => {
    const section = sections('docs/events.md').get(type) ?? ''
    const lines = shape.filter((line) => line.startsWith(`"${type}".`))
    t.true(lines.length >= COMMON.length)
    const missing: string[] = []
    for (const line of lines) {
      const [path = '', words = ''] = line.slice(type.length + 3).split(': ')
      if (COMMON.includes(path)) continue
      // A field of what may be absent is named with or without the question mark of what it is in.
      const names = [path, path.replaceAll(/\?(?=\.)/g, ''), path.replaceAll('?', '')]
      if (!names.some((name) => section.includes(`\`${name}\``))) missing.push(path)
      for (const [word] of words.matchAll(/(?<=")[^"]+(?=")/g)) {
        if (word !== ' | ' && !section.includes(`\`${word}\``)) missing.push(`${path}: ${word}`)
      }
    }
    t.deepEqual(missing, [])
  })
}

test('the examples of docs/events.md are what the schema says, one for every type', (t) => {
  const ajv = new Ajv2020({ strict: true, allErrors: true })
  const validate = ajv.compile(JSON.parse(read('schema/events.schema.json')))
  const types: string[] = []
  for (const [, text = ''] of read('docs/events.md').matchAll(/^```json\n(.*?)^```$/gms)) {
    const event = JSON.parse(text)
    t.true(validate(event), `${event.type}: ${ajv.errorsText(validate.errors)}`)
    types.push(event.type)
  }
  t.deepEqual(types.sort(), Object.keys(examples).sort())
})
