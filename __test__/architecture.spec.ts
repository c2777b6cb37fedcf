// ARCHITECTURE.md and CONTRIBUTING.md name files, symbols and tests; they go stale where nobody looks.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const root = fileURLToPath(new URL('../..', import.meta.url))
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
})
  .trimEnd()
  .split('\n')
  .filter((file) => existsSync(join(root, file)))
const sources = files
  .filter((file) => /\.(rs|ts|mjs|c|h|S|inc|toml|json|yml)$/.test(file))
  .filter((file) => !['package-lock.json', '__test__/architecture.spec.ts'].includes(file))
  .map((file) => readFileSync(join(root, file), 'utf8'))
const words = new Set(sources.join('\n').match(/\w+/g))

/** What a page has in backquotes, and in its drawings. */
function named(page: string): string[] {
  const text = readFileSync(join(root, page), 'utf8')
  const [drawings, prose] = [text.match(/^```.*?^```$/gms) ?? [], text.replace(/^```.*?^```$/gms, '')]
  const quoted = [...prose.matchAll(/`([^`\n]+)`/g)].map(([, word = '']) => word)
  return [...quoted, ...drawings.flatMap((drawing) => drawing.match(/[\w./-]+\.(rs|ts)\b|\b\w+::\w+/g) ?? [])]
}

const isFile = (word: string) => /^[\w./-]+\.(rs|ts|mjs|c|h|S|inc|md|toml|json|yml)$/.test(word)
const isFolder = (word: string) => /^[\w./-]+\/$/.test(word)
/** `Vcpu::run`, `take_exception`, `RunPage`; not a word of everyday English, nor what somebody else's program is called. */
const isSymbol = (word: string) => /^(\w+::)*\w+$/.test(word) && /::|_|[a-z][A-Z]/.test(word)

/** What has no place in our sources, although it looks like a symbol. */
const ELSEWHERE = new Set(['no_std'])

for (const page of ['ARCHITECTURE.md', 'CONTRIBUTING.md']) {
  test(`the files and folders that ${page} names are there`, (t) => {
    const found = named(page)
    const missing = [
      ...found
        .filter(isFile)
        .filter(
          (word) => !files.some((file) => file === word || file.endsWith(`/${word.replace(/^\.\//, '')}`)),
        ),
      ...found.filter(isFolder).filter((word) => !files.some((file) => `/${file}`.includes(`/${word}`))),
    ]
    t.true(found.some(isFile))
    // What `npm run` makes is no file of the repository, and NAME is the reader's own.
    t.deepEqual(
      missing.filter(
        (word) =>
          !word.includes('NAME') && !['site/', 'addons/', 'tarballs/', 'native/', 'dist/'].includes(word),
      ),
      [],
    )
  })
}

test('the symbols and tests that ARCHITECTURE.md names are there', (t) => {
  const found = named('ARCHITECTURE.md').filter(isSymbol)
  t.true(found.length > 50)
  t.deepEqual(
    found.filter((word) => !ELSEWHERE.has(word) && !word.split('::').every((part) => words.has(part))),
    [],
  )
})
