import { mkdtempSync, rmSync } from 'node:fs'
import { arch } from 'node:os'
import { basename, join } from 'node:path'
import type { Cache } from './cache.ts'
import { type CommandOptions, run } from './command.ts'
import { LabError } from './errors.ts'
import { requireHostTools } from './host-tools.ts'
import { findMirror } from './mirror.ts'
import type { Scratch, Workshop } from './workshop.ts'

const RELEASE = 'trixie'
const BACKPORTS = 'trixie-backports'

/** A Debian root folder with the tools that build the lab's parts, and QEMU. */
export class ToolRoot implements Workshop {
  readonly path: string
  /** Name of the artefact, an input of everything built inside. */
  readonly key: string
  readonly cache: Cache
  readonly crossPrefix = arch() === 'arm64' ? '' : 'aarch64-linux-gnu-'

  constructor(path: string, cache: Cache) {
    this.path = path
    this.key = path.slice(path.lastIndexOf('/') + 1)
    this.cache = cache
  }

  /** Path of a file of the root as the machine sees it. */
  host(pathInside: string): string {
    return join(this.path, pathInside)
  }

  async withScratch<T>(action: (scratch: Scratch) => Promise<T>): Promise<T> {
    const outside = mkdtempSync(this.host('/var/tmp/lab-'))
    try {
      return await action({ outside, inside: `/var/tmp/${basename(outside)}` })
    } finally {
      rmSync(outside, { recursive: true, force: true })
    }
  }

  /** Runs a command inside the root and returns its stdout. */
  async run(
    command: string,
    args: readonly string[],
    options: { cwd?: string; env?: Record<string, string>; loud?: boolean } = {},
  ): Promise<string> {
    const commandOptions: CommandOptions = {
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root', LC_ALL: 'C.UTF-8', ...options.env },
      ...(options.loud === undefined ? {} : { loud: options.loud }),
    }
    const inside = ['/usr/bin/env', '-C', options.cwd ?? '/', command, ...args]
    return process.getuid?.() === 0
      ? await run('chroot', [this.path, ...inside], commandOptions)
      : await run('unshare', [...AS_ORDINARY_USER, this.path, ...inside], commandOptions)
  }
}

// An ordinary user has no device nodes in the root and may not make any: it borrows the machine's.
const AS_ORDINARY_USER = [
  '--user',
  '--map-root-user',
  '--mount',
  'sh',
  '-c',
  'mount --rbind /dev "$1/dev" && exec chroot "$@"',
  'sh',
]

/** Makes the tool root, or finds it in the cache. */
export async function makeToolRoot(cache: Cache): Promise<ToolRoot> {
  const packages = toolPackages()
  const path = await cache.artefact(
    'tool-root',
    { RELEASE, BACKPORTS, packages, format: 1 },
    async (folder) => {
      await requireHostTools()
      const { uri, aptOptions } = await findMirror()
      const root = process.getuid?.() === 0
      const mirrorLines = uri === null ? [] : [RELEASE, BACKPORTS].map((suite) => `deb ${uri} ${suite} main`)
      const args = [
        `--mode=${root ? 'root' : 'unshare'}`,
        '--variant=apt',
        `--architectures=${packages.architectures.join(',')}`,
        `--format=${root ? 'directory' : 'tar'}`,
        '--skip=cleanup/apt/lists',
        ...aptOptions.map((line) => `--aptopt=${line}`),
        '--aptopt=Acquire::Languages "none"',
        `--include=${packages.names.join(',')}`,
      ]
      if (root) {
        await run('mmdebstrap', [...args, RELEASE, folder, ...mirrorLines], { loud: true })
      } else {
        await run('mmdebstrap', [...args, RELEASE, `${folder}.tar`, ...mirrorLines], { loud: true })
        await run('tar', ['-C', folder, '--exclude=./dev/*', '-xf', `${folder}.tar`])
        rmSync(`${folder}.tar`)
      }
    },
  )
  return new ToolRoot(path, cache)
}

function toolPackages(): { architectures: string[]; names: string[] } {
  const common = ['make', 'qemu-system-arm', 'cargo-web', 'rustc-web', 'rust-web-clippy']
  switch (arch()) {
    case 'x64':
      return {
        architectures: ['amd64', 'arm64'],
        names: [
          ...common,
          'gcc-14-aarch64-linux-gnu',
          'gcc-aarch64-linux-gnu',
          'libc6-dev-arm64-cross',
          'libstd-rust-web-dev:arm64',
        ],
      }
    case 'arm64':
      return {
        architectures: ['arm64'],
        names: [...common, 'gcc-14', 'gcc', 'libc6-dev', 'libstd-rust-web-dev'],
      }
    default:
      throw new LabError(
        'missing-tool',
        `Expected an x86-64 or arm64 machine for the lab but received ${arch()}`,
      )
  }
}
