import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import type { Cache } from './cache.ts'
import { CpioWriter } from './cpio.ts'
import { fingerprintFiles } from './fingerprint.ts'

/** Where the project lies in the lab. */
export const PROJECT_IN_LAB = '/seawall'
/** What the specs import. */
const PACKAGES = ['ajv', 'ava']

/** Makes the part of the initramfs that only a new package-lock.json changes: what the tests run on, from node_modules. */
export async function makeDependencyArchive(cache: Cache, projectRoot: string): Promise<string> {
  const locks = ['package.json', 'package-lock.json'].map((name) => join(projectRoot, name))
  const inputs = { locks: fingerprintFiles(projectRoot, locks), PACKAGES, format: 2 }
  const folder = await cache.artefact('dependency-archive', inputs, async (into) => {
    const archive = new CpioWriter(join(into, 'dependencies.cpio'))
    for (const packageFolder of dependencyClosure(projectRoot, PACKAGES)) {
      const path = join(PROJECT_IN_LAB, relative(projectRoot, packageFolder))
      archive.tree(path, packageFolder, (name) => name === 'node_modules')
    }
    archive.link(join(PROJECT_IN_LAB, 'node_modules/.bin/ava'), '../ava/entrypoints/cli.mjs')
    archive.close()
  })
  return join(folder, 'dependencies.cpio')
}

/** Folders of the named packages and of everything they depend on, found the way Node finds them. */
export function dependencyClosure(projectRoot: string, names: readonly string[]): string[] {
  const found = new Set<string>()
  const visit = (name: string, from: string, optional: boolean): void => {
    const folder = resolvePackage(name, from, projectRoot)
    if (folder === null) {
      if (optional) return
      throw new Error(
        `Expected ${name} for ${relative(projectRoot, from) || 'the project'} in node_modules but found none`,
      )
    }
    if (found.has(folder)) return
    found.add(folder)
    const manifest = readManifest(folder)
    for (const dependency of Object.keys(manifest.dependencies ?? {})) visit(dependency, folder, false)
    for (const dependency of Object.keys(manifest.optionalDependencies ?? {})) visit(dependency, folder, true)
  }
  const own = Object.keys(readManifest(projectRoot).dependencies ?? {})
  for (const name of [...own, ...names]) visit(name, projectRoot, false)
  return [...found].sort()
}

interface Manifest {
  readonly dependencies?: Record<string, string>
  readonly optionalDependencies?: Record<string, string>
}

function readManifest(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest
}

function resolvePackage(name: string, from: string, projectRoot: string): string | null {
  for (let folder = from; folder.startsWith(projectRoot); folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', name)
    if (existsSync(join(candidate, 'package.json'))) return candidate
  }
  return null
}
