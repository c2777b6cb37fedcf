/** What the changelog has of a version, without its heading; `null` where it has no such version. */
export function notesOf(changelog: string, version: string): string | null {
  const [, ...sections] = changelog.split(/^## /m)
  const section = sections.find((text) => text.startsWith(`[${version}]`))
  return section === undefined ? null : section.slice(section.indexOf('\n')).trim()
}

/** The changelog after a release: what is not released yet is what the version brings. */
export function releaseNotes(changelog: string, version: string, day: string): string {
  const heading = '## [Unreleased]'
  if (!changelog.includes(heading)) throw new Error(`Expected ${heading} in the changelog but found none`)
  if (notesOf(changelog, version) !== null) throw new Error(`The changelog has ${version} already`)
  return changelog.replace(heading, `${heading}\n\n## [${version}] - ${day}`)
}
