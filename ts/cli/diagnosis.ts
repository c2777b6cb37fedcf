import { SeawallError } from '../errors.ts'
import type { HostFacts } from './host-facts.ts'

/** One thing about a host, and what of it. */
export interface Check {
  /** Its name, the same in every version. */
  readonly id: string
  /** `missing`: without it memory errors are not contained. `warning`: contained less well, or less of the host is safe. */
  readonly status: 'ok' | 'warning' | 'missing'
  /** What was found. */
  readonly found: string
  /** Why it matters. */
  readonly why: string
  /** What to change; `null` where there is nothing to do, or nothing that can be done. */
  readonly change: string | null
}

const CAP_IPC_LOCK = 14n
const PASS_DEVICE = 'pass the device into the container: --device /dev/kvm'
/** A VM may lose 4096 pages, most often of 4 KiB each. */
const LOCKED_BYTES = 4096 * 4096
/** Three mappings for each of them, and the process's own. */
const MAPPINGS = 3 * 4096 + 4096

/** Checks a host by what was found out about it, in the order in which it is to be put right. */
export function diagnose(facts: HostFacts): Check[] {
  const first = [addon(facts), platform(facts)]
  // Nothing of the rest matters where no guest can run.
  if (facts.platform !== 'linux' || facts.arch !== 'arm64') return first
  return [
    ...first,
    kvmDevice(facts),
    ...kvmCapabilities(facts),
    memoryFailure(facts),
    lockedMemory(facts),
    mappings(facts),
    swap(facts),
    compaction(facts),
    shmem(facts),
    ...hugePages(facts),
  ]
}

function addon({ support, addonPackage, platform, arch }: HostFacts): Check {
  const why = 'all of Seawall but its types and its JSON functions is native code'
  if (!(support instanceof SeawallError)) return check('addon', 'ok', 'loads', why)
  const change =
    addonPackage === null
      ? 'no package is made for this platform; in a clone npm run build may be able to make it'
      : `npm install ${addonPackage}; in a clone: npm run build`
  return check('addon', 'missing', `none loads for ${platform} on ${arch}`, why, change)
}

function platform({ platform, arch }: HostFacts): Check {
  const right = platform === 'linux' && arch === 'arm64'
  const why = "KVM runs guests of the host's own architecture, and the memory errors are those of arm64"
  const change = 'use an arm64 machine; here there are the simulator, and the lab of a clone: npm run lab'
  return check('platform', right ? 'ok' : 'missing', `${platform} on ${arch}`, why, right ? null : change)
}

function kvmDevice({ kvm }: HostFacts): Check {
  const why = 'guests run by /dev/kvm'
  switch (kvm.open) {
    case 'ok':
      return check('kvm', 'ok', '/dev/kvm can be opened', why)
    case 'EACCES': {
      const join = (group: string) => `sudo usermod --append --groups ${group} "$USER", then log in again`
      const change =
        kvm.group === null || kvm.group === 'root'
          ? `sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm; ${join('kvm')}`
          : join(kvm.group)
      return check('kvm', 'missing', 'this user may not open /dev/kvm (EACCES)', why, change)
    }
    case 'EPERM':
      return check('kvm', 'missing', 'this container may not open /dev/kvm (EPERM)', why, PASS_DEVICE)
    default: {
      const change = `start the kernel at EL2 (in a virtual machine: with nested virtualisation), or ${PASS_DEVICE}`
      return check('kvm', 'missing', `/dev/kvm cannot be opened (${kvm.open})`, why, change)
    }
  }
}

function kvmCapabilities({ support, kernel, kvm, vm, seccomp }: HostFacts): Check[] {
  if (support instanceof SeawallError) return []
  const { armSeaToUser, ras, injectExtDabt, nisvToUser, userfaultfd, hwpoison } = support.capabilities
  const asked = kvm.open === 'ok'
  const checks: Check[] = []
  const capability = (id: string, is: boolean, name: string, why: string, change: string) =>
    checks.push(is ? check(id, 'ok', `${name}: yes`, why) : check(id, 'missing', `${name}: no`, why, change))
  if (asked) {
    capability(
      'sea-to-user',
      armSeaToUser,
      `KVM_CAP_ARM_SEA_TO_USER (245) in Linux ${kernel}`,
      'without it a memory error becomes an SError in the guest, on which Linux panics',
      'boot Linux 6.19 or newer',
    )
    capability(
      'ras',
      ras,
      'FEAT_RAS in the processors (KVM capability 158)',
      'without it the kernel makes an SError of every memory error that the firmware does not claim',
      'use processors with FEAT_RAS: Armv8.2-A and newer have it',
    )
    capability(
      'injection',
      injectExtDabt,
      'KVM_CAP_ARM_INJECT_EXT_DABT (178)',
      'without it nothing can be injected into a guest',
      'boot Linux 6.19 or newer',
    )
    checks.push(
      nisvToUser
        ? check('nisv', 'ok', 'KVM_CAP_ARM_NISV_TO_USER (177): yes', NISV)
        : check('nisv', 'warning', 'KVM_CAP_ARM_NISV_TO_USER (177): no', NISV, 'boot Linux 6.19 or newer'),
    )
  }
  checks.push(userfaultfdCheck(userfaultfd, vm.unprivileged_userfaultfd, seccomp))
  // Without CONFIG_MEMORY_FAILURE, which is asked for below, a privilege is of no use.
  if (vm.memory_failure_recovery !== null) checks.push(offlining(hwpoison))
  return checks
}

const NISV = 'accesses to where nothing is get an abort also where they report no syndrome'

function userfaultfdCheck(is: boolean, unprivileged: number | null, seccomp: boolean | null): Check {
  const why = 'with it a lost page is taken away without stopping vCPUs, and from system calls too'
  if (is) {
    const sysctl =
      unprivileged === null ? '' : `; vm.unprivileged_userfaultfd is ${unprivileged}, and may be 0`
    return check('userfaultfd', 'ok', `with UFFDIO_POISON: yes${sysctl}`, why)
  }
  const change = seccomp
    ? 'allow userfaultfd in the seccomp profile of the container: --security-opt seccomp=profile.json'
    : 'boot a kernel of at least Linux 6.6 with CONFIG_USERFAULTFD; with SELinux, allow it to the domain'
  const filter = seccomp ? ' (system calls are filtered)' : ''
  return check('userfaultfd', 'warning', `with UFFDIO_POISON: no${filter}`, why, change)
}

function offlining(is: boolean): Check {
  const why =
    "with it lost pages are taken out of the host's use when a VM is closed; else the next process gets them"
  return is
    ? check('offline', 'ok', 'MADV_HWPOISON with CAP_SYS_ADMIN: yes', why)
    : check(
        'offline',
        'warning',
        'CAP_SYS_ADMIN: no',
        why,
        'AmbientCapabilities=CAP_SYS_ADMIN in the systemd unit',
      )
}

function memoryFailure({ vm }: HostFacts): Check {
  const { memory_failure_recovery: recovery, memory_failure_early_kill: earlyKill } = vm
  const id = 'memory-failure'
  if (recovery === null || earlyKill === null) {
    const why = "without it the host's kernel can take no page away, and sends no signal that names one"
    return check(
      id,
      'warning',
      'the kernel has no CONFIG_MEMORY_FAILURE',
      why,
      'boot a kernel with CONFIG_MEMORY_FAILURE',
    )
  }
  const found = `vm.memory_failure_recovery is ${recovery}, vm.memory_failure_early_kill is ${earlyKill}`
  if (recovery === 0) {
    const why = 'at 0 every memory error that the kernel handles panics the host'
    return check(id, 'warning', found, why, 'sudo sysctl vm.memory_failure_recovery=1')
  }
  if (earlyKill !== 0) {
    const why =
      'at 1 a memory error is signalled to every process that maps the page; Seawall asks for the signal itself'
    return check(id, 'warning', found, why, 'sudo sysctl vm.memory_failure_early_kill=0')
  }
  return check(id, 'ok', found, "the host's kernel takes lost pages away and tells of them")
}

function lockedMemory({ lockedMemory, capabilities }: HostFacts): Check {
  const why =
    "lost pages are locked, so that the host does not swap them, which reads them; 16 MiB holds all of a VM's"
  const id = 'locked-memory'
  if (has(capabilities, CAP_IPC_LOCK)) return check(id, 'ok', 'not limited: CAP_IPC_LOCK', why)
  if (lockedMemory === null) return check(id, 'warning', 'the limit is not known', why, null)
  if (lockedMemory === Number.POSITIVE_INFINITY) return check(id, 'ok', 'not limited', why)
  const found = `RLIMIT_MEMLOCK is ${lockedMemory} bytes`
  return lockedMemory >= LOCKED_BYTES
    ? check(id, 'ok', found, why)
    : check(
        id,
        'warning',
        found,
        why,
        'LimitMEMLOCK=16M in the systemd unit, --ulimit memlock=16777216 for Docker',
      )
}

function mappings({ vm }: HostFacts): Check {
  const why = 'a lost page costs up to three mappings'
  const count = vm.max_map_count
  if (count === null) return check('mappings', 'warning', 'vm.max_map_count is not known', why, null)
  const enough = count >= MAPPINGS
  const change = enough ? null : 'sudo sysctl vm.max_map_count=65530'
  return check('mappings', enough ? 'ok' : 'warning', `vm.max_map_count is ${count}`, why, change)
}

function swap({ swaps }: HostFacts): Check {
  const why = "swapping out reads a page; where it is lost, the host's kernel consumes the error"
  // Without the file the kernel cannot swap.
  return swaps === null || swaps.length === 0
    ? check('swap', 'ok', 'there is none', why)
    : check('swap', 'warning', `memory is swapped to ${swaps.join(', ')}`, why, 'sudo swapoff --all')
}

function compaction({ vm }: HostFacts): Check {
  const why = 'compaction moves locked pages unless this is 0, which reads them'
  const allowed = vm.compact_unevictable_allowed
  if (allowed === null) return check('compaction', 'ok', 'the kernel does not compact memory', why)
  const found = `vm.compact_unevictable_allowed is ${allowed}`
  return allowed === 0
    ? check('compaction', 'ok', found, why)
    : check('compaction', 'warning', found, why, 'sudo sysctl vm.compact_unevictable_allowed=0')
}

function shmem({ shmemEnabled }: HostFacts): Check {
  const why = 'making huge pages of guest RAM, which is shared memory, copies it'
  const file = '/sys/kernel/mm/transparent_hugepage/shmem_enabled'
  if (shmemEnabled === null)
    return check('shmem', 'ok', 'the kernel makes no huge pages of shared memory', why)
  // Guest RAM asks for none, so that `advise` means no.
  return ['never', 'deny', 'advise'].includes(shmemEnabled)
    ? check('shmem', 'ok', `shmem_enabled is ${shmemEnabled}`, why)
    : check('shmem', 'warning', `shmem_enabled is ${shmemEnabled}`, why, `echo never | sudo tee ${file}`)
}

function hugePages({ hugePages }: HostFacts): Check[] {
  const why = 'only --hugetlb and the option hugetlb need them'
  const sizes = [
    ['2M', 2 ** 11],
    ['1G', 2 ** 20],
  ] as const
  const found = sizes.flatMap(([name, size]) => {
    const pages = hugePages.find(({ kib }) => kib === size)
    return pages === undefined ? [] : [`${name}: ${pages.free} free of ${pages.total}`]
  })
  return found.length === 0 ? [] : [check('huge-pages', 'ok', found.join(', '), why)]
}

function has(capabilities: bigint | null, bit: bigint): boolean {
  return ((capabilities ?? 0n) >> bit) % 2n === 1n
}

function check(
  id: string,
  status: Check['status'],
  found: string,
  why: string,
  change: string | null = null,
): Check {
  return { id, status, found, why, change }
}
