/** What the changelog has of a version, without its heading; `null` where it has no such version. */
export function notesOf(changelog: string, version: string): string | null {
  const [, ...sections] = changelog.split(/^## /m)
  const section = sections.find((text) => /^\S+/.exec(text)?.[0] === version)
  return section === undefined ? null : section.slice(section.indexOf('\n')).trim()
}

/** The changelog with the day of a version in its heading, as it is after `changeset version`. */
export function dated(changelog: string, version: string, day: string): string {
  return changelog.replace(`## ${version}\n`, `## ${version} - ${day}\n\n`)
}
