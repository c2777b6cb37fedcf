import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { npmFaults } from '../scripts/lock-files.ts'
import { distTag, isPublished } from '../scripts/package/publish.ts'
import { notesOf } from '../scripts/release/changelog.ts'
import { complaints, type ReleaseFiles } from '../scripts/release/check.ts'

const path = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url))
const read = (name: string) => readFileSync(path(name), 'utf8')
const { version } = JSON.parse(read('package.json')) as { version: string }

const documents = readdirSync(path('docs')).filter((name) => name.endsWith('.md'))
const pages = ['README.md', ...documents.map((name) => `docs/${name}`)]

/** The tree as it is, but with a repository, without changesets, and said to be published. */
const released: ReleaseFiles = {
  manifest: JSON.stringify({ ...JSON.parse(read('package.json')), repository: 'github:a/b' }),
  lock: read('package-lock.json'),
  cargo: read('Cargo.toml'),
  cargoLock: read('Cargo.lock'),
  changelog: read('CHANGELOG.md').replace('Not released yet.\n', ''),
  changesets: [],
  pages: Object.fromEntries(
    pages.map((name) => [
      name,
      read(name).replace(/\bis\s+not\s+published\b|\bNo published package\b/g, 'is published'),
    ]),
  ),
}

test('this tree could be released under its version', (t) => {
  t.deepEqual(complaints(released, `v${version}`), [])
})

test('a tag, a lock, crates, a changelog and a page of another version are refused, each by its name', (t) => {
  t.deepEqual(complaints(released, 'v9.9.9'), [`Expected the tag v${version} but received v9.9.9`])
  const refused = (files: Partial<ReleaseFiles>, words: RegExp) => {
    const found = complaints({ ...released, ...files }, `v${version}`)
    t.is(found.length, 1)
    t.regex(found[0] ?? '', words)
  }
  const lock = released.lock.replace(`"version": "${version}"`, '"version": "9.9.9"')
  refused({ lock }, /package-lock\.json but received 9\.9\.9/)
  const cargo = released.cargo.replace(`version = "${version}"`, 'version = "9.9.9"')
  refused({ cargo }, /Cargo\.toml but received 9\.9\.9/)
  const cargoLock = released.cargoLock.replace(
    `name = "seawall-kvm"\nversion = "${version}"`,
    'name = "seawall-kvm"\nversion = "9.9.9"',
  )
  refused({ cargoLock }, /Cargo\.lock but received 9\.9\.9/)
  refused({ changelog: '# Changelog\n' }, /CHANGELOG\.md/)
  refused({ changelog: `# C\n\n## ${version}\n\nNot released yet.\n\n- New.\n` }, /"Not released yet\."/)
  for (const named of [
    'seawall-9.9.9.tgz',
    'seawall-linux-arm64-gnu-9.9.9.tgz',
    'seawall@9.9.9',
    'Seawall 9.9.9',
  ])
    refused(
      { pages: { 'docs/x.md': `With ${named}` } },
      /^Expected \S+ in docs\/x\.md but received .*9\.9\.9$/,
    )
  for (const text of ['It is not\npublished yet.', '- **No published package.**'])
    refused({ pages: { 'README.md': text } }, /README\.md .* not published$/)
  refused({ manifest: `{ "version": "${version}" }` }, /repository/)
  refused({ changesets: ['brave-dogs.md'] }, /no changeset .* brave-dogs\.md/)
})

test('a version has its own section of the changelog, and an empty one is none', (t) => {
  const changelog = '# C\n\n## 1.0.0 - 2027-01-02\n\n## 0.9.0 - 2026-01-02\n\nOld.\n'
  t.is(notesOf(changelog, '1.0.0'), '')
  t.true(complaints({ ...released, changelog }, `v${version}`).length > 0)
  t.is(notesOf(changelog, '0.9.0'), 'Old.')
  t.is(notesOf(changelog, '0.9'), null)
})

test('changesets make the next version wherever one stands, and a section of the changelog above the others', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'seawall-release-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const files = [
    'Cargo.lock',
    'Cargo.toml',
    'README.md',
    'crates',
    'docs',
    'package-lock.json',
    'package.json',
  ]
  const copy = (name: string) => cpSync(path(name), join(folder, name), { recursive: true })
  for (const name of [...files, 'build/scripts', '.changeset/changelog.cjs', '.changeset/config.json'])
    copy(name)
  symlinkSync(path('node_modules'), join(folder, 'node_modules'))
  const write = (name: string, text: string) => writeFileSync(join(folder, name), text)
  const written = (name: string) => readFileSync(join(folder, name), 'utf8')
  write('CHANGELOG.md', `# Changelog\n\n## ${version}\n\n- Old.\n`)
  write('.changeset/brave-dogs.md', '---\n"seawall": minor\n---\n\nNew,\nand of two lines.\n')
  write('.changeset/small-cats.md', '---\n"seawall": patch\n---\n\nMended.\n')
  await promisify(execFile)(process.execPath, [join(folder, 'build/scripts/release/main.js'), 'set'])

  const [, minor = ''] = version.split('.')
  const next = version.replace(/\.\d+\..*/, `.${Number(minor) + 1}.0`)
  const manifest = JSON.parse(written('package.json'))
  t.is(manifest.version, next)
  const found = complaints(
    {
      manifest: JSON.stringify({ ...manifest, repository: 'github:a/b' }),
      lock: written('package-lock.json'),
      cargo: written('Cargo.toml'),
      cargoLock: written('Cargo.lock'),
      changelog: written('CHANGELOG.md'),
      changesets: readdirSync(join(folder, '.changeset')).filter((name) => name.endsWith('.md')),
      pages: Object.fromEntries(pages.map((name) => [name, written(name)])),
    },
    `v${next}`,
  )
  t.deepEqual(
    found.filter((line) => !/is not published$/.test(line)),
    [],
  )
  t.deepEqual(npmFaults(written('package-lock.json')), [])
  t.true(written('README.md').includes(`seawall-${next}.tgz`))
  t.is(
    written('CHANGELOG.md').replace(/ - \d{4}-\d{2}-\d{2}$/m, ' - 2027-01-02'),
    `# Changelog

## ${next} - 2027-01-02

### Minor Changes

- New,
  and of two lines.

### Patch Changes

- Mended.

## ${version}

- Old.
`,
  )
})

test('a version before a release is not what is installed by default', (t) => {
  t.is(distTag('1.0.0-rc.1'), 'next')
  t.is(distTag('1.0.0'), 'latest')
})

/** What npm needs to ask one registry, once, with nothing of this machine's. */
function asking(registry: string): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name))
  return { ...Object.fromEntries(own), npm_config_registry: registry, npm_config_fetch_retries: '0' }
}

test('only a registry that does not have a version is taken for one that has not; any other answer is an error', async (t) => {
  const versions = { '1.0.0': { name: 'x', version: '1.0.0', dist: { tarball: 'http://127.0.0.1/x.tgz' } } }
  const server = createServer(({ url = '' }, response) => {
    const status = Number(/^\/(\d+)\//.exec(url)?.[1])
    const has = { name: 'x', 'dist-tags': { latest: '1.0.0' }, versions }
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(JSON.stringify(status === 200 ? has : { error: 'the reason' }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const at = (status: number) => asking(`http://127.0.0.1:${port}/${status}/`)

  t.true(await isPublished('x@1.0.0', at(200)))
  t.false(await isPublished('x@1.0.1', at(200)))
  t.false(await isPublished('x@1.0.0', at(404)))
  for (const status of [401, 403, 503])
    await t.throwsAsync(isPublished('x@1.0.0', at(status)), {
      message: new RegExp(
        `^Expected the registry to say whether it has x@1\\.0\\.0 .* E${status}: .*the reason`,
      ),
    })
  await t.throwsAsync(isPublished('x@1.0.0', asking('http://127.0.0.1:1/')), { message: /ECONNREFUSED/ })
})

test('a registry of which npm says nothing that one can read is an error too', async (t) => {
  await t.throwsAsync(isPublished('x@1.0.0', { PATH: '/nowhere' }), { message: /ENOENT/ })
})
