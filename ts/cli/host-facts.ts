import { closeSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { release } from 'node:os'
import { SeawallError } from '../errors.ts'
import { type HostSupport, probeHost } from '../host.ts'
import { platformPackage } from '../platform.ts'
import { version } from '../version.ts'

/** What can be found out about a host. `null` is "not known": the file is not there, or may not be read. */
export interface HostFacts {
  /** `process.platform` and `process.arch`. */
  readonly platform: string
  readonly arch: string
  /** The kernel's release. */
  readonly kernel: string
  /** The package with the addon for this machine, in the version that belongs to this one; `null` where none is made. */
  readonly addonPackage: string | null
  /** What the probe says; its complaint where there is no addon. */
  readonly support: HostSupport | SeawallError
  /** How opening `/dev/kvm` ended, `ok` or an errno, and the group that owns it. */
  readonly kvm: { readonly open: string; readonly group: string | null }
  /** The effective capabilities, a bit each (`CapEff`, linux/capability.h). */
  readonly capabilities: bigint | null
  /** Whether system calls are filtered (`Seccomp` is 2). */
  readonly seccomp: boolean | null
  /** The soft limit of locked memory in bytes; Infinity where there is none. */
  readonly lockedMemory: number | null
  /** What memory is swapped to. */
  readonly swaps: readonly string[] | null
  /** `transparent_hugepage/shmem_enabled`, the word in brackets. */
  readonly shmemEnabled: string | null
  /** Huge pages that are set aside, by size in KiB. */
  readonly hugePages: readonly { readonly kib: number; readonly total: number; readonly free: number }[]
  /** Files of `/proc/sys/vm`, by name. */
  readonly vm: Readonly<Record<Sysctl, number | null>>
}

const SYSCTLS = [
  'compact_unevictable_allowed',
  'max_map_count',
  'memory_failure_early_kill',
  'memory_failure_recovery',
  'unprivileged_userfaultfd',
] as const
type Sysctl = (typeof SYSCTLS)[number]

/** Finds out about this host. Changes nothing, and needs no privilege. */
export function readHostFacts(): HostFacts {
  const status = read('/proc/self/status')
  const capabilities = field(status, 'CapEff')
  const seccomp = field(status, 'Seccomp')
  const locked = /^Max locked memory +(\S+)/m.exec(read('/proc/self/limits') ?? '')?.[1]
  const sysctls = SYSCTLS.map((name) => [name, toNumber(read(`/proc/sys/vm/${name}`))] as const)
  return {
    platform: process.platform,
    arch: process.arch,
    kernel: release(),
    addonPackage: addonPackage(),
    support: probe(),
    kvm: { open: openKvm(), group: groupOf('/dev/kvm') },
    capabilities: capabilities === null ? null : BigInt(`0x${capabilities}`),
    seccomp: seccomp === null ? null : seccomp === '2',
    lockedMemory:
      locked === undefined ? null : locked === 'unlimited' ? Number.POSITIVE_INFINITY : Number(locked),
    // The first line is a heading.
    swaps:
      read('/proc/swaps')
        ?.trimEnd()
        .split('\n')
        .slice(1)
        .map((line) => line.split(/\s/)[0] ?? line) ?? null,
    shmemEnabled:
      /\[(\w+)\]/.exec(read('/sys/kernel/mm/transparent_hugepage/shmem_enabled') ?? '')?.[1] ?? null,
    hugePages: readHugePages('/sys/kernel/mm/hugepages'),
    vm: Object.fromEntries(sysctls) as HostFacts['vm'],
  }
}

function addonPackage(): string | null {
  const name = platformPackage()
  return name === null ? null : `${name}@${version()}`
}

function probe(): HostFacts['support'] {
  try {
    return probeHost()
  } catch (error) {
    if (error instanceof SeawallError) return error
    throw error
  }
}

function openKvm(): string {
  try {
    closeSync(openSync('/dev/kvm', 'r+'))
    return 'ok'
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error)
  }
}

function groupOf(path: string): string | null {
  try {
    const { gid } = statSync(path)
    const line = read('/etc/group')
      ?.split('\n')
      .find((found) => found.split(':')[2] === String(gid))
    return line?.split(':')[0] ?? String(gid)
  } catch {
    return null
  }
}

function readHugePages(folder: string): HostFacts['hugePages'] {
  let names: string[]
  try {
    names = readdirSync(folder)
  } catch {
    return []
  }
  return names.map((name) => ({
    kib: Number(/\d+/.exec(name)?.[0]),
    total: toNumber(read(`${folder}/${name}/nr_hugepages`)) ?? 0,
    free: toNumber(read(`${folder}/${name}/free_hugepages`)) ?? 0,
  }))
}

function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}

function field(status: string | null, name: string): string | null {
  return new RegExp(`^${name}:\\s*(\\w+)`, 'm').exec(status ?? '')?.[1] ?? null
}

function toNumber(text: string | null): number | null {
  return text === null ? null : Number(text)
}
