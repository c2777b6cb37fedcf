import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { TARBALLS, tarball } from '../../scripts/package/pack.ts'
import { addonFile, PLATFORMS, packageName } from '../../scripts/package/platforms.ts'

const run = promisify(execFile)
const tarballs = readdirSync(TARBALLS)

for (const name of tarballs) {
  test(`publint has nothing to say about ${name}`, async (t) => {
    const file = readFileSync(join(TARBALLS, name))
    const { messages, pkg } = await publint({
      strict: true,
      pack: { tarball: file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength) as ArrayBuffer },
    })
    t.deepEqual(
      messages.map((message) => formatMessage(message, pkg)),
      [],
    )
  })
}

async function files(path: string): Promise<string[]> {
  const { stdout } = await run('tar', ['--list', '--gzip', '--file', path])
  return stdout
    .trimEnd()
    .split('\n')
    .map((name) => name.replace(/^package\//, ''))
}

test('the package of a platform has its addon, what it is, and its licence, and nothing else', async (t) => {
  const platforms = PLATFORMS.filter(({ name }) => existsSync(tarball(packageName(name))))
  t.is(platforms.length + 1, tarballs.length)
  for (const { name } of platforms) {
    const found = await files(tarball(packageName(name)))
    const wanted = ['LICENSE', 'LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'package.json', addonFile(name)]
    t.deepEqual(found.sort(), wanted)
  }
})

test('the package seawall has no addon, no source of TypeScript, and nothing of the build', async (t) => {
  const found = await files(tarball('seawall'))
  for (const name of [
    'dist/index.js',
    'dist/index.d.ts',
    'dist/cli/seawall.js',
    'native/index.cjs',
    'README.md',
  ])
    t.true(found.includes(name), name)
  t.deepEqual(
    found.filter((name) => /\.(node|tsbuildinfo|d\.ts\.map|d\.cts)$|(?<!\.d)\.ts$/.test(name)),
    [],
  )
})

test('the pages of the package seawall lead to one another, and to nothing else but the lab, the specs and the examples of a clone', async (t) => {
  const found = await files(tarball('seawall'))
  const pages = found.filter((name) => name.endsWith('.md'))
  t.true(pages.includes('docs/errors.md'))
  for (const page of pages) {
    const { stdout } = await run('tar', [
      '--extract',
      '--to-stdout',
      '--gzip',
      '--file',
      tarball('seawall'),
      `package/${page}`,
    ])
    for (const [, link = ''] of stdout
      .replace(/^```.*?^```$/gms, '')
      .matchAll(/\]\((?!https?:|#)([^)\s#]+)/g)) {
      const target = posix.join(posix.dirname(page), link)
      t.true(
        found.includes(target) || (page !== 'README.md' && /^(lab|__test__|examples)\//.test(target)),
        `${page}: ${link}`,
      )
    }
  }
})

test('the types are those of what is imported, for TypeScript that imports and for TypeScript that requires', async (t) => {
  t.timeout(120_000)
  const attw = join(
    dirname(fileURLToPath(import.meta.resolve('@arethetypeswrong/cli/package.json'))),
    'dist',
    'index.js',
  )
  // Node's require() takes modules since 20.19, which is the oldest that Seawall supports.
  const rules = ['--profile', 'node16', '--ignore-rules', 'cjs-resolves-to-esm']
  const entries = ['--exclude-entrypoints', './events.schema.json']
  // It ends with an error where there is a problem that is not left out here.
  const { stdout } = await run(process.execPath, [
    attw,
    tarball('seawall'),
    ...rules,
    ...entries,
    '--format',
    'json',
  ])
  const { analysis } = JSON.parse(stdout)
  t.deepEqual(Object.keys(analysis.entrypoints), ['.', './esr', './simulated', './package.json'])
})
