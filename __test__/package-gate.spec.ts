import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { type Elf, parseElf } from '../scripts/package/elf.ts'
import { complaints, glibcOf, MAX_BYTES, machOComplaints } from '../scripts/package/gate.ts'
import { PLATFORMS } from '../scripts/package/platforms.ts'

const read = (name: string) => readFileSync(fileURLToPath(new URL(`../../${name}`, import.meta.url)), 'utf8')
const { napi, version } = JSON.parse(read('package.json')) as { napi: { targets: string[] }; version: string }

const gnu = PLATFORMS.find(({ name }) => name === 'linux-arm64-gnu')?.elf ?? null
const musl = PLATFORMS.find(({ name }) => name === 'linux-arm64-musl')?.elf ?? null

const good: Elf = {
  class: 'ELF64',
  machine: 'AArch64',
  libraries: ['libc.so.6', 'ld-linux-aarch64.so.1'],
  exports: ['seawall_sigbus_previous', 'napi_register_module_v1'],
  versions: ['GLIBC_2.17', 'GLIBC_2.28'],
  rust: '1.95.0',
}

test('a package is made for every target of package.json, and for no other', (t) => {
  t.deepEqual(
    PLATFORMS.map(({ triple }) => triple),
    napi.targets,
  )
})

test('the addon and the package have one version', (t) => {
  t.is(/^version = "(.*)"$/m.exec(read('Cargo.toml'))?.[1], version)
})

test('the error of a missing addon knows the same packages', (t) => {
  const [list = ''] = /^const PLATFORMS = \[.*\]$/m.exec(read('ts/platform.ts')) ?? []
  t.deepEqual(
    [...list.matchAll(/'([^']+)'/g)].map(([, name]) => name),
    PLATFORMS.map(({ name }) => name),
  )
})

test('an addon as it should be passes', (t) => {
  t.deepEqual(complaints(MAX_BYTES, good, gnu), [])
})

const bad: [string, number, Elf | null, RegExp][] = [
  ['that is too big', MAX_BYTES + 1, good, /^Expected at most 1500000 bytes but received 1500001$/],
  ['that is empty', 0, good, /bytes but received 0$/],
  ['that is no ELF file', 1, null, /^Expected an ELF file/],
  ['of 32 bits', 1, { ...good, class: 'ELF32' }, /^Expected ELF64 but received ELF32$/],
  ['for another processor', 1, { ...good, machine: 'ARM' }, /^Expected machine AArch64 but received ARM$/],
  ['without its entry', 1, { ...good, exports: [] }, /^Expected exactly the exports .* but received none$/],
  ['with more exports', 1, { ...good, exports: [...good.exports, 'malloc'] }, /received malloc, napi_/],
  ['with a library more', 1, { ...good, libraries: ['libssl.so.3'] }, /but received libssl\.so\.3$/],
  [
    'for a newer glibc',
    1,
    { ...good, versions: ['GLIBC_2.9', 'GLIBC_2.34'] },
    /^Expected no need newer than GLIBC_2\.28 but received GLIBC_2\.34$/,
  ],
  ['of private symbols', 1, { ...good, versions: ['GLIBC_PRIVATE'] }, /but received GLIBC_PRIVATE$/],
  ['with relocations of a newer glibc', 1, { ...good, versions: ['GLIBC_ABI_DT_RELR'] }, /DT_RELR$/],
]
for (const [what, bytes, elf, message] of bad) {
  test(`an addon ${what} is refused`, (t) => {
    const found = complaints(bytes, elf, gnu)
    t.is(found.length, 1)
    t.regex(found[0] ?? '', message)
  })
}

test('an addon for macOS is a Mach-O file for arm64', (t) => {
  t.deepEqual(machOComplaints(Buffer.from('cffaedfe0c00000100000000', 'hex')), [])
  for (const other of ['cffaedfe07000001', 'cafebabe00000002', '7f454c4602010100', ''])
    t.deepEqual(machOComplaints(Buffer.from(other, 'hex')), [
      `Expected a Mach-O file for arm64 but received ${other}`,
    ])
})

test('an addon for musl must need nothing of glibc', (t) => {
  const elf = { ...good, libraries: ['libc.so'] }
  t.deepEqual(complaints(1, { ...elf, versions: [] }, musl), [])
  t.is(complaints(1, elf, musl).length, 2)
})

test('versions of glibc are compared as numbers', (t) => {
  t.is(glibcOf({ ...good, versions: ['GLIBC_2.9', 'GLIBC_2.17', 'GLIBC_2.2.5', 'GCC_3.0'] }), '2.17')
  t.is(glibcOf({ ...good, versions: [] }), null)
})

test('what readelf prints is read: imports are no exports, and versions are those that are needed', (t) => {
  const elf = parseElf(`ELF Header:
  Class:                             ELF64
  Machine:                           AArch64

Dynamic section at offset 0x148820 contains 27 entries:
 0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]
 0x000000000000000e (SONAME)             Library soname: [libseawall_napi.so]

Symbol table '.dynsym' contains 89 entries:
   Num:    Value          Size Type    Bind   Vis      Ndx Name
     0: 0000000000000000     0 NOTYPE  LOCAL  DEFAULT  UND 
    86: 0000000000000000     0 FUNC    GLOBAL DEFAULT  UND memcpy@GLIBC_2.17 (3)
    87: 00000000000af088 20352 FUNC    GLOBAL DEFAULT   13 napi_register_module_v1
    88: 00000000000c47c8    32 FUNC    WEAK   DEFAULT   13 extra@@OWN_1.0

Version definition section '.gnu.version_d' contains 1 entry:
  0x001c: Rev: 1  Flags: none  Index: 2  Cnt: 1  Name: OWN_1.0

Version needs section '.gnu.version_r' contains 4 entries:
  0x0010: Version: 1  File: libc.so.6  Cnt: 5
  0x0050:   Name: GLIBC_2.28  Flags: none  Version: 2
  0x0060:   Name: GLIBC_2.17  Flags: WEAK  Version: 7

String dump of section '.comment':
  [     1]  rustc version 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)
`)
  t.deepEqual(elf, {
    class: 'ELF64',
    machine: 'AArch64',
    libraries: ['libc.so.6'],
    exports: ['napi_register_module_v1', 'extra@@OWN_1.0'],
    versions: ['GLIBC_2.17', 'GLIBC_2.28'],
    rust: '1.96.0',
  })
})
