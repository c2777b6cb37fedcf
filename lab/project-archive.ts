import { existsSync } from 'node:fs'
import { basename, isAbsolute, join } from 'node:path'
import { ADDON_FILE } from './addon.ts'
import { CpioWriter } from './cpio.ts'
import { PROJECT_IN_LAB } from './dependency-archive.ts'
import type { Lab } from './lab.ts'

/** A file that a run puts into the lab; a relative path lies in the project. */
export interface LabFile {
  readonly path: string
  readonly content: Uint8Array | { readonly from: string }
}

/** What one run adds to the lab. */
export interface RunContents {
  readonly command: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly files: readonly LabFile[]
  /** Kernel module to load, as a path of this machine. */
  readonly module: string | null
}

/** Writes the part of the initramfs that belongs to one run: the project as it is now, the module, the command. */
export function writeProjectArchive(path: string, lab: Lab, contents: RunContents): void {
  const archive = new CpioWriter(path)
  archive.copy(join(PROJECT_IN_LAB, 'package.json'), join(lab.projectRoot, 'package.json'))
  for (const name of ['dist', 'build', 'live-view', 'schema', '__test__']) {
    const from = join(lab.projectRoot, name)
    if (existsSync(from)) archive.tree(join(PROJECT_IN_LAB, name), from, isUselessInLab)
  }
  for (const name of ['index.cjs', 'index.d.cts']) {
    const from = join(lab.projectRoot, 'native', name)
    if (existsSync(from)) archive.copy(join(PROJECT_IN_LAB, 'native', name), from)
  }
  if (lab.addon !== null) archive.copy(join(PROJECT_IN_LAB, 'native', ADDON_FILE), lab.addon, 0o755)
  if (contents.module !== null) archive.copy(join('lab/modules', basename(contents.module)), contents.module)
  for (const { path: to, content } of contents.files) {
    const target = isAbsolute(to) ? to : join(PROJECT_IN_LAB, to)
    if (content instanceof Uint8Array) archive.file(target, content, 0o755)
    else archive.copy(target, content.from, 0o755)
  }
  archive.file('lab/command', Buffer.from(commandScript(contents)))
  archive.close()
}

// TypeScript is there compiled, in build/; what is left of __test__ are fixtures.
function isUselessInLab(name: string): boolean {
  return name === 'node_modules' || /\.(tsbuildinfo|ts|d\.ts\.map|S|inc|md)$/.test(name)
}

function commandScript({ command, env }: RunContents): string {
  const exports = Object.entries(env).map(([name, value]) => `export ${name}=${quote(value)}`)
  return [...exports, `cd ${PROJECT_IN_LAB}`, `exec ${command.map(quote).join(' ')}`, ''].join('\n')
}

function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`
}
