import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { distTag, isPublished } from '../scripts/package/publish.ts'
import { dated, notesOf } from '../scripts/release/changelog.ts'
import { complaints, type ReleaseFiles } from '../scripts/release/check.ts'

const path = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url))
const read = (name: string) => readFileSync(path(name), 'utf8')
const { version } = JSON.parse(read('package.json')) as { version: string }

/** The tree as it is, but for a repository, and without changesets. */
const released: ReleaseFiles = {
  manifest: JSON.stringify({ ...JSON.parse(read('package.json')), repository: 'github:a/b' }),
  lock: read('package-lock.json'),
  cargo: read('Cargo.toml'),
  changelog: read('CHANGELOG.md'),
  changesets: [],
}

test('this tree could be released under its version', (t) => {
  t.deepEqual(complaints(released, `v${version}`), [])
})

test('a tag, a lock, crates and a changelog of another version are refused, each by its name', (t) => {
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
  refused({ changelog: '# Changelog\n' }, /CHANGELOG\.md/)
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

test('changesets make the next version, and a section of the changelog above the others', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'seawall-release-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const changesets = join(folder, '.changeset')
  cpSync(path('.changeset'), changesets, { recursive: true, filter: (name) => !name.endsWith('.md') })
  writeFileSync(join(folder, 'package.json'), '{ "name": "seawall", "version": "0.1.0" }\n')
  writeFileSync(join(folder, 'CHANGELOG.md'), '# Changelog\n\n## 0.1.0\n\n- Old.\n')
  writeFileSync(join(changesets, 'brave-dogs.md'), '---\n"seawall": minor\n---\n\nNew,\nand of two lines.\n')
  writeFileSync(join(changesets, 'small-cats.md'), '---\n"seawall": patch\n---\n\nMended.\n')
  await promisify(execFile)(process.execPath, [path('node_modules/@changesets/cli/bin.js'), 'version'], {
    cwd: folder,
  })
  t.is(JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version, '0.2.0')
  t.deepEqual(readdirSync(changesets).sort(), ['changelog.cjs', 'config.json'])
  t.is(
    dated(readFileSync(join(folder, 'CHANGELOG.md'), 'utf8'), '0.2.0', '2027-01-02'),
    `# Changelog

## 0.2.0 - 2027-01-02

### Minor Changes

- New,
  and of two lines.

### Patch Changes

- Mended.

## 0.1.0

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
