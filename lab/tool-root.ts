import { mkdtempSync, rmSync } from 'node:fs'
import { arch } from 'node:os'
import { basename, join } from 'node:path'
import { type Bootstrap, bootstrap } from './bootstrap.ts'
import type { Cache } from './cache.ts'
import { attempt, type CommandOptions, run } from './command.ts'
import { LabError } from './errors.ts'
import type { Scratch, Workshop } from './workshop.ts'

// The mounts are the command's own: they go away with it. An ordinary user cannot make device nodes, only borrow them.
const ENTER_WITH_MOUNTS = [
  '--mount',
  'sh',
  '-c',
  'mount --rbind /dev "$1/dev" && mount --rbind /proc "$1/proc" && exec chroot "$@"',
  'sh',
]

/** A Debian root folder with the tools that build the lab's parts, and QEMU. */
export class ToolRoot implements Workshop {
  readonly path: string
  /** Name of the artefact, an input of everything built inside. */
  readonly key: string
  readonly cache: Cache
  readonly crossPrefix = arch() === 'arm64' ? '' : 'aarch64-linux-gnu-'

  #mayMount: Promise<boolean> | undefined

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
    const [program, ...enter] = await this.#enter()
    return await run(program, [...enter, this.path, ...inside], commandOptions)
  }

  async #enter(): Promise<readonly [string, ...string[]]> {
    if (process.getuid?.() !== 0) return ['unshare', '--user', '--map-root-user', ...ENTER_WITH_MOUNTS]
    // A container's root may not mount. Then only clippy is missing, which looks into /proc.
    this.#mayMount ??= attempt('unshare', ['--mount', 'true']).then(({ status }) => status === 0)
    return (await this.#mayMount) ? ['unshare', ...ENTER_WITH_MOUNTS] : ['chroot']
  }
}

/** Makes the tool root, or finds it in the cache. */
export async function makeToolRoot(cache: Cache): Promise<ToolRoot> {
  const wanted = toolPackages()
  const path = await cache.artefact('tool-root', { ...wanted, format: 1 }, (folder) =>
    bootstrap(folder, wanted),
  )
  return new ToolRoot(path, cache)
}

/** Makes a root with nothing but the QEMU of Debian's backports: newer CPU models. Returns its folder. */
export async function makeBackportsQemu(cache: Cache): Promise<string> {
  const { suites, architectures } = toolPackages()
  const wanted: Bootstrap = {
    suites,
    architectures: architectures.slice(0, 1),
    packages: [
      `qemu-system-arm/${suites[1]}`,
      `qemu-system-common/${suites[1]}`,
      `qemu-system-data/${suites[1]}`,
    ],
  }
  return await cache.artefact('qemu-backports', { ...wanted, format: 1 }, (folder) =>
    bootstrap(folder, wanted),
  )
}

function toolPackages(): Bootstrap {
  if (process.platform !== 'linux') {
    throw new LabError('missing-tool', `Expected Linux for the lab but received ${process.platform}`)
  }
  const suites = ['trixie', 'trixie-backports'] as const
  const common = ['make', 'qemu-system-arm', 'cargo-web', 'rustc-web', 'rust-web-clippy']
  switch (arch()) {
    case 'x64':
      return {
        suites,
        architectures: ['amd64', 'arm64'],
        packages: [
          ...common,
          'gcc-14-aarch64-linux-gnu',
          'gcc-aarch64-linux-gnu',
          'libc6-dev-arm64-cross',
          'libstd-rust-web-dev:arm64',
        ],
      }
    case 'arm64':
      return {
        suites,
        architectures: ['arm64'],
        packages: [...common, 'gcc-14', 'gcc', 'libc6-dev', 'libstd-rust-web-dev'],
      }
    default:
      throw new LabError(
        'missing-tool',
        `Expected an x86-64 or arm64 machine for the lab but received ${arch()}`,
      )
  }
}
