import { notesOf } from './changelog.ts'

/** What a release is made of. */
export interface ReleaseFiles {
  /** The text of package.json. */
  readonly manifest: string
  /** The text of package-lock.json. */
  readonly lock: string
  /** The text of Cargo.toml. */
  readonly cargo: string
  readonly changelog: string
  /** The names of the changesets that no version has yet. */
  readonly changesets: readonly string[]
}

const VERSION = /^\d+\.\d+\.\d+(-[0-9a-z.-]+)?$/

/** What stands against releasing this tree under a tag, a sentence each. */
export function complaints(files: ReleaseFiles, tag: string): string[] {
  const { manifest, lock, cargo, changelog, changesets } = files
  const { version, repository } = JSON.parse(manifest) as { version: string; repository?: unknown }
  const { version: locked } = JSON.parse(lock) as { version: string }
  const [, crates] = /^\[workspace\.package\][^[]*?^version = "([^"]+)"/ms.exec(cargo) ?? []
  const found: string[] = []
  if (!VERSION.test(version)) found.push(`Expected a version in package.json but received ${version}`)
  if (tag !== `v${version}`) found.push(`Expected the tag v${version} but received ${tag}`)
  if (locked !== version) found.push(`Expected ${version} in package-lock.json but received ${locked}`)
  if (crates !== version) found.push(`Expected ${version} in Cargo.toml but received ${crates ?? 'none'}`)
  if (!notesOf(changelog, version)) found.push(`Expected a section on ${version} in CHANGELOG.md`)
  if (changesets.length > 0)
    found.push(`Expected no changeset that is in no version but received ${changesets.join(', ')}`)
  if (repository === undefined)
    found.push('Expected `repository` in package.json: npm compares it with where the provenance comes from')
  return found
}
