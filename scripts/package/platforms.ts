import { GLIBC_FLOOR } from '../../lab/lab.ts'

/** What must be true of an addon that is an ELF file. */
export interface ElfRules {
  /** As `readelf` names it. */
  readonly machine: string
  /** The libraries that it may need: those that every such system has. */
  readonly libraries: readonly string[]
  /** The newest version of glibc's symbols that it may need; `null` where the C library is another. */
  readonly glibc: string | null
}

/** A platform that a package is made for, one for each of `napi.targets` in package.json. */
export interface Platform {
  /** As the package's name ends, and the addon's file name. */
  readonly name: string
  readonly triple: string
  /** `null` for macOS, which has Mach-O files. */
  readonly elf: ElfRules | null
}

const GLIBC_LIBRARIES = ['libc.so.6', 'libdl.so.2', 'libm.so.6', 'libpthread.so.0', 'librt.so.1']

/** All of them. */
export const PLATFORMS: readonly Platform[] = [
  {
    name: 'linux-arm64-gnu',
    triple: 'aarch64-unknown-linux-gnu',
    elf: {
      machine: 'AArch64',
      libraries: [...GLIBC_LIBRARIES, 'ld-linux-aarch64.so.1'],
      glibc: GLIBC_FLOOR,
    },
  },
  {
    name: 'linux-arm64-musl',
    triple: 'aarch64-unknown-linux-musl',
    elf: { machine: 'AArch64', libraries: ['libc.so', 'libgcc_s.so.1'], glibc: null },
  },
  {
    name: 'linux-x64-gnu',
    triple: 'x86_64-unknown-linux-gnu',
    elf: {
      machine: 'Advanced Micro Devices X86-64',
      libraries: [...GLIBC_LIBRARIES, 'ld-linux-x86-64.so.2'],
      glibc: GLIBC_FLOOR,
    },
  },
  { name: 'darwin-arm64', triple: 'aarch64-apple-darwin', elf: null },
]

/** The file name of a platform's addon. */
export function addonFile(name: string): string {
  return `seawall.${name}.node`
}

/** The name of a platform's package. */
export function packageName(name: string): string {
  return `seawall-${name}`
}
