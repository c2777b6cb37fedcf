import type { Elf } from './elf.ts'
import type { ElfRules } from './platforms.ts'

/** The most bytes that an addon may have. */
export const MAX_BYTES = 1.5e6

/** What an addon has for others: its entry, and what copies of it in one process find each other's SIGBUS handler by. */
const EXPORTS = ['napi_register_module_v1', 'seawall_sigbus_previous']

/** What is wrong with an addon, a sentence each; nothing, where it may be released. */
export function complaints(bytes: number, elf: Elf | null, rules: ElfRules | null): string[] {
  const found: string[] = []
  const expect = (holds: boolean, expected: string, received: unknown) => {
    if (!holds) found.push(`Expected ${expected} but received ${received}`)
  }
  expect(bytes > 0 && bytes <= MAX_BYTES, `at most ${MAX_BYTES} bytes`, bytes)
  if (rules === null) return found
  if (elf === null) return [...found, 'Expected an ELF file but received another']
  expect(elf.class === 'ELF64', 'ELF64', elf.class)
  expect(elf.machine === rules.machine, `machine ${rules.machine}`, elf.machine)
  const exported = [...elf.exports].sort().join(', ')
  expect(exported === EXPORTS.join(', '), `exactly the exports ${EXPORTS.join(', ')}`, exported || 'none')
  for (const library of elf.libraries)
    expect(rules.libraries.includes(library), `a library of ${rules.libraries.join(', ')}`, library)
  for (const version of elf.versions)
    expect(mayNeed(version, rules.glibc), `no need newer than ${newest(rules.glibc)}`, version)
  return found
}

/** How a Mach-O file of 64 bits for arm64 begins: MH_MAGIC_64 and CPU_TYPE_ARM64 (mach-o/loader.h, mach/machine.h). */
const MACH_O_ARM64 = 'cffaedfe0c000001'

/** What is wrong with an addon for macOS, by what it begins with. */
export function machOComplaints(head: Uint8Array): string[] {
  const found = Buffer.from(head).toString('hex', 0, 8)
  return found === MACH_O_ARM64 ? [] : [`Expected a Mach-O file for arm64 but received ${found}`]
}

/** The newest glibc that an addon needs; `null` where it needs none. */
export function glibcOf({ versions }: Elf): string | null {
  const found = versions.flatMap((version) => /^GLIBC_(\d.*)$/.exec(version)?.[1] ?? [])
  return found.sort(compareVersions).at(-1) ?? null
}

function mayNeed(version: string, glibc: string | null): boolean {
  const found = /^GLIBC_(\d+\.\d+(?:\.\d+)?)$/.exec(version)?.[1]
  if (found === undefined || glibc === null) return false
  return compareVersions(found, glibc) <= 0
}

function newest(glibc: string | null): string {
  return glibc === null ? 'nothing of glibc' : `GLIBC_${glibc}`
}

const compareVersions = new Intl.Collator('en', { numeric: true }).compare
