import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

/** What the dynamic linker reads of an ELF file. */
export interface Elf {
  /** Such as `ELF64`. */
  readonly class: string
  /** Such as `AArch64`. */
  readonly machine: string
  /** The libraries that it needs. */
  readonly libraries: readonly string[]
  /** The symbols that it has for others. */
  readonly exports: readonly string[]
  /** The versions of symbols that it needs, such as `GLIBC_2.17`. */
  readonly versions: readonly string[]
  /** The version of the Rust that it was built with; `null` where it does not say. */
  readonly rust: string | null
}

/** Reads an ELF file by `readelf`, which every C toolchain has. */
export async function readElf(path: string): Promise<Elf> {
  const what = ['--file-header', '--dynamic', '--dyn-syms', '--version-info', '--string-dump=.comment']
  const { stdout } = await promisify(execFile)('readelf', ['--wide', ...what, path], {
    env: { ...process.env, LC_ALL: 'C' },
    maxBuffer: 2 ** 26,
  })
  return parseElf(stdout)
}

/** What `readelf` printed, as facts. */
export function parseElf(text: string): Elf {
  const all = (pattern: RegExp) => [...text.matchAll(pattern)].map(([, found = '']) => found)
  const needs = text.slice(text.indexOf('\nVersion needs section'))
  return {
    class: all(/^ {2}Class: +(\S+)$/gm)[0] ?? '',
    machine: all(/^ {2}Machine: +(.+)$/gm)[0] ?? '',
    libraries: all(/\(NEEDED\) +Shared library: \[(.+)\]$/gm),
    // Number, value, size, type, binding, visibility, section, name: what is undefined here comes from somebody else.
    exports: all(/^ +\d+: [0-9a-f]+ +\w+ \w+ +(?:GLOBAL|WEAK) +\w+ +\d+ (\S+)/gm),
    versions: [
      ...new Set([...needs.matchAll(/ Name: (\S+) +Flags: /g)].map(([, version = '']) => version)),
    ].sort(),
    rust: all(/ rustc version (\S+)/g)[0] ?? null,
  }
}
