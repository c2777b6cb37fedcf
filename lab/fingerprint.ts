import { createHash } from 'node:crypto'
import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'

/** Every file below `folder`, sorted, without the names that `skip` refuses. */
export function filesBelow(folder: string, skip: (name: string) => boolean = () => false): string[] {
  const found: string[] = []
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (skip(entry.name)) continue
    const path = join(folder, entry.name)
    if (entry.isDirectory()) found.push(...filesBelow(path, skip))
    else if (entry.isFile()) found.push(path)
  }
  return found.sort()
}

/** SHA-256 over names, execute bits and contents of files, relative to `base`. */
export function fingerprintFiles(base: string, files: readonly string[]): string {
  const hash = createHash('sha256')
  for (const file of [...files].sort()) {
    const content = readFileSync(file)
    const executable = (lstatSync(file).mode & 0o111) !== 0
    hash.update(`${relative(base, file)}\0${executable}\0${content.length}\0`)
    hash.update(content)
  }
  return hash.digest('hex')
}

/** SHA-256 of plain data. */
export function fingerprint(inputs: unknown): string {
  return createHash('sha256').update(JSON.stringify(inputs)).digest('hex')
}
