import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { notesOf, releaseNotes } from '../scripts/release/changelog.ts'
import { complaints, type ReleaseFiles } from '../scripts/release/check.ts'

function read(name: string): string {
  return readFileSync(fileURLToPath(new URL(`../../${name}`, import.meta.url)), 'utf8')
}

/** The tree as it is, but for a changelog that has a version, and a repository. */
function released(version: string): ReleaseFiles {
  return {
    manifest: JSON.stringify({ ...JSON.parse(read('package.json')), repository: 'github:a/b' }),
    lock: read('package-lock.json'),
    cargo: read('Cargo.toml'),
    changelog: releaseNotes(read('CHANGELOG.md'), version, '2027-01-02'),
  }
}

const { version } = JSON.parse(read('package.json')) as { version: string }

test('this tree could be released under its version, once its changelog has that', (t) => {
  t.deepEqual(complaints(released(version), `v${version}`), [])
})

test('a tag, a lock, crates and a changelog of another version are refused, each by its name', (t) => {
  const files = released(version)
  t.deepEqual(complaints(files, 'v9.9.9'), [`Expected the tag v${version} but received v9.9.9`])
  const other = (text: string) => text.replace(`"version": "${version}"`, '"version": "9.9.9"')
  t.regex(
    complaints({ ...files, lock: other(files.lock) }, `v${version}`).join(),
    /package-lock\.json but received 9\.9\.9/,
  )
  const cargo = files.cargo.replace(`version = "${version}"`, 'version = "9.9.9"')
  t.regex(complaints({ ...files, cargo }, `v${version}`).join(), /Cargo\.toml but received 9\.9\.9/)
  t.regex(complaints({ ...files, changelog: '# Changelog\n' }, `v${version}`).join(), /CHANGELOG\.md/)
  t.regex(
    complaints({ ...files, manifest: `{ "version": "${version}" }` }, `v${version}`).join(),
    /repository/,
  )
})

test('an empty section is no changelog', (t) => {
  const changelog = '## [Unreleased]\n\n## [1.0.0] - 2027-01-02\n\n## [0.9.0] - 2026-01-02\n\nOld.\n'
  t.is(notesOf(changelog, '1.0.0'), '')
  t.true(complaints({ ...released(version), changelog }, `v${version}`).length > 0)
  t.is(notesOf(changelog, '0.9.0'), 'Old.')
  t.is(notesOf(changelog, '2.0.0'), null)
})

test('a release takes what is not released yet, and leaves that section empty', (t) => {
  const changelog = releaseNotes(
    '# C\n\n## [Unreleased]\n\n- New.\n\n## [0.1.0] - 2026-01-02\n\n- Old.\n',
    '0.2.0',
    '2027-01-02',
  )
  t.is(notesOf(changelog, 'Unreleased'), '')
  t.is(notesOf(changelog, '0.2.0'), '- New.')
  t.is(notesOf(changelog, '0.1.0'), '- Old.')
  t.throws(() => releaseNotes(changelog, '0.2.0', '2027-01-03'), { message: /already/ })
})
