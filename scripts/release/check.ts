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
}

const VERSION = /^\d+\.\d+\.\d+(-[0-9a-z.-]+)?$/

/** What stands against releasing this tree under a tag, a sentence each. */
export function complaints({ manifest, lock, cargo, changelog }: ReleaseFiles, tag: string): string[] {
  const { version, repository } = JSON.parse(manifest) as { version: string; repository?: unknown }
  const { version: locked } = JSON.parse(lock) as { version: string }
  const [, crates] = /^\[workspace\.package\][^[]*?^version = "([^"]+)"/ms.exec(cargo) ?? []
  const found: string[] = []
  if (!VERSION.test(version)) found.push(`Expected a version in package.json but received ${version}`)
  if (tag !== `v${version}`) found.push(`Expected the tag v${version} but received ${tag}`)
  if (locked !== version) found.push(`Expected ${version} in package-lock.json but received ${locked}`)
  if (crates !== version) found.push(`Expected ${version} in Cargo.toml but received ${crates ?? 'none'}`)
  if (!notesOf(changelog, version)) found.push(`Expected a section on ${version} in CHANGELOG.md`)
  if (repository === undefined)
    found.push('Expected `repository` in package.json: npm compares it with where the provenance comes from')
  return found
}
