// What the lock files must say, so that what is installed is what was reviewed, from the one registry of each, on every
// platform, and without running anything.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { projectRoot, StepError } from './step.ts'

const CARGO_REGISTRY = 'registry+https://github.com/rust-lang/crates.io-index'
const INSTALL_SCRIPTS = ['preinstall', 'install', 'postinstall', 'prepare', 'prepublish']

interface NpmPackage {
  version?: string
  resolved?: string
  integrity?: string
  link?: boolean
  hasInstallScript?: boolean
  dependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
}

/** What is wrong with a package-lock.json, a sentence each. */
export function npmFaults(text: string): string[] {
  const { lockfileVersion, packages } = JSON.parse(text) as {
    lockfileVersion: number
    packages: Record<string, NpmPackage>
  }
  const faults =
    lockfileVersion === 3 ? [] : [`Expected 3 for lockfileVersion but received ${lockfileVersion}`]
  for (const [path, entry] of Object.entries(packages)) {
    const name = path === '' ? 'the package itself' : path
    if (path !== '') {
      if (!/^sha512-[\w+/]{86}==$/.test(entry.integrity ?? ''))
        faults.push(`Expected a sha512 integrity for ${name} but received ${entry.integrity ?? 'none'}`)
      // A host there would be asked by everybody, whichever registry they use.
      if (entry.resolved !== undefined)
        faults.push(`Expected no resolved for ${name} but received ${entry.resolved}`)
      if (entry.link === true) faults.push(`Expected a package for ${name} but received a link`)
      if (entry.hasInstallScript === true)
        faults.push(`Expected no install script for ${name} but received one`)
    }
    // npm leaves out what another platform needs when it writes the file anew beside node_modules.
    for (const needed of Object.keys({ ...entry.dependencies, ...entry.optionalDependencies })) {
      if (!isThere(packages, path, needed))
        faults.push(`Expected ${needed} for ${name} but it is not in the lock file`)
    }
  }
  return faults
}

/** Whether Node would find a package from another one: beside it, or above. */
function isThere(packages: Record<string, NpmPackage>, from: string, name: string): boolean {
  const folders = from.split('/node_modules/')
  for (let depth = from === '' ? 0 : folders.length; depth >= 0; depth -= 1) {
    const above = folders.slice(0, depth).join('/node_modules/')
    if (packages[above === '' ? `node_modules/${name}` : `${above}/node_modules/${name}`] !== undefined)
      return true
  }
  return false
}

/** What is wrong with a Cargo.lock; `own` are the workspace's packages. */
export function cargoFaults(text: string, own: readonly string[]): string[] {
  const [, ...packages] = text.split(/^\[\[package\]\]$/m)
  return packages.flatMap((entry) => {
    const field = (name: string) => new RegExp(`^${name} = "(.*)"$`, 'm').exec(entry)?.[1]
    const name = `${field('name')} ${field('version')}`
    if (own.includes(field('name') ?? '')) return []
    const faults: string[] = []
    if (field('source') !== CARGO_REGISTRY)
      faults.push(`Expected crates.io for ${name} but received ${field('source') ?? 'a path'}`)
    if (!/^[0-9a-f]{64}$/.test(field('checksum') ?? ''))
      faults.push(`Expected a checksum for ${name} but received ${field('checksum') ?? 'none'}`)
    return faults
  })
}

/** What is wrong with a package.json: what runs when somebody installs it, and what it brings along. */
export function manifestFaults(text: string): string[] {
  const { scripts = {}, dependencies = {} } = JSON.parse(text) as {
    scripts?: Record<string, string>
    dependencies?: Record<string, string>
  }
  return [
    ...INSTALL_SCRIPTS.filter((name) => name in scripts).map(
      (name) => `Expected no ${name} for scripts but received one`,
    ),
    ...Object.keys(dependencies).map((name) => `Expected no dependencies but received ${name}`),
  ]
}

/** Checks the files of this project. */
export function checkLockFiles(): void {
  const read = (name: string) => readFileSync(join(projectRoot, name), 'utf8')
  const own = ['arm64', 'kvm', 'vmm', 'napi'].map((name) => `seawall-${name}`)
  const faults = [
    ...npmFaults(read('package-lock.json')),
    ...manifestFaults(read('package.json')),
    ...cargoFaults(read('Cargo.lock'), own),
  ]
  if (faults.length > 0) throw new StepError(faults.join('\n'))
}
