import { notesOf } from './changelog.ts'
import { pageComplaints } from './pages.ts'

/** What a release is made of. */
export interface ReleaseFiles {
  /** The text of package.json. */
  readonly manifest: string
  /** The text of package-lock.json. */
  readonly lock: string
  /** The text of Cargo.toml. */
  readonly cargo: string
  /** The text of Cargo.lock. */
  readonly cargoLock: string
  readonly changelog: string
  /** The names of the changesets that no version has yet. */
  readonly changesets: readonly string[]
  /** The texts of README.md and of what is in docs/, by name. */
  readonly pages: Readonly<Record<string, string>>
}

const VERSION = /^\d+\.\d+\.\d+(-[0-9a-z.-]+)?$/

/** What stands against releasing this tree under a tag, a sentence each. */
export function complaints(files: ReleaseFiles, tag: string): string[] {
  const { manifest, lock, cargo, cargoLock, changelog, changesets, pages } = files
  const { version, repository } = JSON.parse(manifest) as { version: string; repository?: unknown }
  const { version: locked, packages } = JSON.parse(lock) as {
    version: string
    packages: { '': { version: string } }
  }
  const lockedCrates = [...cargoLock.matchAll(/^name = "seawall-.*"\nversion = "(.*)"$/gm)]
  const [, crates] = /^\[workspace\.package\][^[]*?^version = "([^"]+)"/ms.exec(cargo) ?? []
  const found: string[] = []
  if (!VERSION.test(version)) found.push(`Expected a version in package.json but received ${version}`)
  if (tag !== `v${version}`) found.push(`Expected the tag v${version} but received ${tag}`)
  for (const received of new Set([locked, packages[''].version]))
    if (received !== version) found.push(`Expected ${version} in package-lock.json but received ${received}`)
  if (crates !== version) found.push(`Expected ${version} in Cargo.toml but received ${crates ?? 'none'}`)
  for (const received of new Set(lockedCrates.map(([, of]) => of)))
    if (received !== version) found.push(`Expected ${version} in Cargo.lock but received ${received}`)
  for (const [name, text] of Object.entries(pages)) found.push(...pageComplaints(name, text, version))
  const notes = notesOf(changelog, version)
  if (!notes) found.push(`Expected a section on ${version} in CHANGELOG.md`)
  else if (notes.startsWith('Not released yet.'))
    found.push(
      `Expected what ${version} brings in CHANGELOG.md but received "Not released yet.": take that out`,
    )
  if (changesets.length > 0)
    found.push(`Expected no changeset that is in no version but received ${changesets.join(', ')}`)
  if (repository === undefined)
    found.push(
      'Expected `repository` in package.json but there is none: add { "type": "git", "url": ' +
        '"git+https://github.com/OWNER/NAME.git" } of the repository that the release runs in, because npm compares it with ' +
        'where the provenance comes from',
    )
  return found
}
