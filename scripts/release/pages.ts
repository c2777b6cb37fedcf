/** A version of Seawall, where a page names one: of a package's file, of a package, or of the tool. */
const NAMED = /\b(seawall(?:-[a-z0-9]+)*[-@ ])(\d+\.\d+\.\d+(?:-[0-9a-z]+(?:\.\d+)*)?)/gi

/** What stands against releasing a version with this page, a sentence each. */
export function pageComplaints(name: string, text: string, version: string): string[] {
  const found = [...text.matchAll(NAMED)]
    .filter(([, , named]) => named !== version)
    .map(([whole]) => `Expected ${version} in ${name} but received ${whole}`)
  if (/\bis\s+not\s+published\b|\bNo published package\b/.test(text))
    found.push(`Expected ${name} to say how Seawall is installed but it says that it is not published`)
  return found
}

/** The page with another version, wherever it names one. */
export function withVersion(text: string, version: string): string {
  return text.replace(NAMED, `$1${version}`)
}
