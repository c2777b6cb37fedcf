import { randomUUID } from 'node:crypto'
import { types } from 'node:util'
import { checkBoolean, checkInteger, checkOneOf, checkRecord, checkString, checkU64 } from './checks.ts'
import type { Decision } from './decision.ts'
import { invalidOption } from './errors.ts'
import type { MemoryFailure } from './events.ts'
import type { NativeVmOptions } from './native.ts'
import { toNativeScript } from './script.ts'
import type { SimulatedBackend } from './simulated.ts'
import type { Vcpu } from './vcpu.ts'
import type { Vm } from './vm.ts'

/** What a virtual machine is made of. */
export interface VmOptions {
  /** A name for machines, in every event. Default: a random UUID. */
  id?: string
  /** A name for people. */
  name?: string
  /**
   * The size of guest RAM in bytes: a multiple of the size of its pages, which are the host's (4096 bytes on most) unless
   * `hugetlb` says otherwise. RAM starts at guest-physical address 0x80000000.
   */
  memory: number
  /**
   * Makes guest RAM of huge pages, which the host must have set aside. A lost page still costs the guest 4 KiB, by a hole in
   * its memory slots; {@link Vm.replacePage} is refused. Default: ordinary pages.
   */
  hugetlb?: '2M' | '1G'
  /** How many vCPUs, 1 to 512. Default 1. All but the first wait for PSCI CPU_ON. */
  vcpus?: number
  /** What runs the vCPUs. Default `kvm`. */
  backend?: 'kvm' | SimulatedBackend
  /** What the guest starts with. */
  boot: FlatBoot | LinuxBoot
  /**
   * What happens when the guest resets itself. `exit`, the default: the VM ends with the reason `reset`. `restart`: the same
   * VM boots again, from the files that it was created with, also where they were removed or replaced by name since, and with
   * fresh memory in the place of lost pages, of which the history stays; a `guest-reset` event says so. Lost pages of huge
   * pages cannot be replaced and stay lost.
   */
  onReset?: 'exit' | 'restart'
  /**
   * What to do with an access to an address where nothing is. `abort`, the default: an external abort, as on a machine without
   * a device there. `read-zero`: a load reads zero and a store does nothing; an access without a syndrome gets the abort all
   * the same. `stop`: the VM stops.
   */
  unclaimedAccess?: 'abort' | 'stop' | 'read-zero'
  /** What to do with memory errors. */
  memoryFailure?: MemoryFailurePolicy
  /** What to ask the kernel for; off for contrast and tests. */
  capabilities?: {
    /** Memory errors exit to Seawall. Off, the kernel makes an SError of them, which ends most guests. Default true. */
    armSeaToUser?: boolean
    /** Accesses without a syndrome exit to Seawall. Default true. */
    armNisvToUser?: boolean
  }
  /**
   * Leaves what tells of the guest's own address space and state out of events and `pendingFailures()`: `gva`, and the
   * consumer's `pc` and `pstate`, are then `null`; its `mode` and the syndrome stay. `decide` still gets all of it, and so does
   * who reads registers. Default false.
   */
  redact?: boolean
}

/** A flat binary, entered at EL1h with the MMU off and all exceptions masked. */
export interface FlatBoot {
  /** A flat binary. */
  type: 'flat'
  /** The bytes, or the path of the file that holds them. */
  image: string | Uint8Array
  /** Where the bytes go. Default: the start of RAM, 0x80000000. */
  loadAddress?: bigint
  /** The first instruction, inside the image. Default: the load address. */
  entry?: bigint
}

/**
 * A Linux kernel, with a GICv3, the arch timer, PSCI, a 16550 console and a device tree that says so.
 *
 * @example
 * ```ts
 * const boot = { type: 'linux', kernel: 'Image', initrd: 'initrd.cpio', cmdline: 'console=ttyS0 panic=-1' } as const
 * ```
 */
export interface LinuxBoot {
  /** A Linux kernel. */
  type: 'linux'
  /** The file of an arm64 `Image`, plain or gzip. Not an EFI zboot kernel, which unpacks itself by EFI only. */
  kernel: string
  /** The file of an initial RAM disk, in any form that the kernel takes. Default: none. */
  initrd?: string
  /**
   * The kernel's command line, 2047 bytes at most with the `acpi=on` that is put before it. Default `console=ttyS0 panic=-1`: a
   * panic resets the guest.
   */
  cmdline?: string
  /**
   * Whether the machine is described by ACPI beside the device tree, which is what a guest needs to be told of its lost pages
   * without a program of its own ({@link MemoryFailurePolicy.notifyGuest}). A kernel without ACPI uses the device tree.
   * Default true.
   */
  acpi?: boolean
}

/** What to do with memory errors. Policy is data: no JavaScript runs while a vCPU waits, unless `decide` is set. */
export interface MemoryFailurePolicy {
  /** For errors that software can contain (SET is UER or UEO, or not known). Default `inject`. */
  recoverable?: 'inject' | 'pause' | 'stop'
  /** For errors that nobody can contain (SET is UC or reserved). Default `stop`. */
  uncontainable?: 'pause' | 'stop'
  /**
   * Whether lost pages are taken out of everybody's reach, so that a further access consumes nothing on the hardware.
   * Default true.
   */
  quarantine?: boolean
  /** What to do with each lost page from a number of different ones on. Default: nothing more. */
  threshold?: {
    /** The number, from 1. */
    distinctPages: number
    /** What to do; `report` only says so. */
    action: 'pause' | 'stop' | 'report'
  }
  /**
   * How many times in a row the guest's kernel may get the same abort (same page, same instruction) before the VM stops. Where
   * no page is known, only the fetch of an exception's vector counts.
   * A user process that survives its signal and touches the page for ever never stops the VM. Default 3.
   */
  sameFaultLimit?: number
  /**
   * Whether the guest's kernel is told which of its pages are lost, so that it gives them to nobody again. `ghes`: by error
   * records of ACPI (APEI GHES), the default for a Linux guest that is booted with `acpi`, and only there. `agent`: by a program in
   * the guest, `agent/retire-pages.c` of this package, which finds a second serial port for that; only for a Linux guest that is
   * booted without `acpi`. `none`: not at all, the default elsewhere.
   *
   * With `ghes` a process of the guest gets its abort with the record. The guest's kernel itself, and with `agent` a process too,
   * gets time up to `deferMs` to do without the page, and the abort where it does not.
   */
  notifyGuest?: 'ghes' | 'agent' | 'none'
  /**
   * How long an access may run again before it gets its abort, by the decision `defer` or because the guest's kernel was told
   * of the page, in milliseconds, 0 to 60000: in at most 100 tries, a millisecond apart at least, and for all accesses to the page together. 0: it gets the abort
   * at once. Default 200.
   */
  deferMs?: number
  /**
   * Asked once for every memory error that a vCPU consumes, while that vCPU waits; not about further accesses to a page in
   * quarantine. What it returns is done on the vCPU's own thread. Where it throws, rejects, answers too late or with nothing
   * that can be done, the rest of this policy applies, and a `decision-fallback` event says why. For an error that nobody
   * can contain only `pause` and `stop` can be done, and `resume` only after {@link Vm.replacePage}.
   */
  decide?: Decide
  /** How long a vCPU waits for `decide`, in milliseconds, 1 to 600000. Default 100. */
  decisionTimeoutMs?: number
}

/** Decides about a memory error. `signal` is aborted when the vCPU waits no more. */
export type Decide = (
  failure: MemoryFailure,
  context: { vm: Vm; vcpu: Vcpu; signal: AbortSignal },
) => Decision | Promise<Decision>

/** The options of each way to boot. */
const BOOT = {
  flat: ['type', 'image', 'loadAddress', 'entry'],
  linux: ['type', 'kernel', 'initrd', 'cmdline', 'acpi'],
}
const MAX_VCPUS = 512
const MAX_COUNT = 2 ** 32 - 1

/** Checks options and completes their defaults. */
export function toNativeOptions(value: unknown): NativeVmOptions {
  const names = [
    'id',
    'name',
    'memory',
    'hugetlb',
    'vcpus',
    'backend',
    'boot',
    'onReset',
    'unclaimedAccess',
    'memoryFailure',
    'capabilities',
    'redact',
  ]
  const options = checkRecord(value, names, 'options')
  const policyNames = [
    'recoverable',
    'uncontainable',
    'quarantine',
    'threshold',
    'sameFaultLimit',
    'notifyGuest',
    'deferMs',
    'decide',
    'decisionTimeoutMs',
  ]
  const policy = checkRecord(options['memoryFailure'] ?? {}, policyNames, 'memoryFailure')
  const boot = checkBoot(options['boot'])
  const capabilityNames = ['armSeaToUser', 'armNisvToUser']
  const capabilities = checkRecord(options['capabilities'] ?? {}, capabilityNames, 'capabilities')
  return {
    id: options['id'] === undefined ? randomUUID() : checkString(options['id'], 'id'),
    name: options['name'] === undefined ? null : checkString(options['name'], 'name'),
    memory: BigInt(checkInteger(options['memory'], 1, Number.MAX_SAFE_INTEGER, 'memory')),
    hugePage:
      options['hugetlb'] === undefined ? null : checkOneOf(options['hugetlb'], ['2M', '1G'], 'hugetlb'),
    vcpus: checkInteger(options['vcpus'] ?? 1, 1, MAX_VCPUS, 'vcpus'),
    script: checkBackend(options['backend'] ?? 'kvm'),
    boot,
    onReset: checkOneOf(options['onReset'] ?? 'exit', ['exit', 'restart'], 'onReset'),
    armSeaToUser: checkBoolean(capabilities['armSeaToUser'] ?? true, 'capabilities.armSeaToUser'),
    armNisvToUser: checkBoolean(capabilities['armNisvToUser'] ?? true, 'capabilities.armNisvToUser'),
    recoverable: checkOneOf(
      policy['recoverable'] ?? 'inject',
      ['inject', 'pause', 'stop'],
      'memoryFailure.recoverable',
    ),
    uncontainable: checkOneOf(
      policy['uncontainable'] ?? 'stop',
      ['pause', 'stop'],
      'memoryFailure.uncontainable',
    ),
    quarantine: checkBoolean(policy['quarantine'] ?? true, 'memoryFailure.quarantine'),
    threshold: checkThreshold(policy['threshold']),
    decisionTimeoutMs: checkInteger(
      policy['decisionTimeoutMs'] ?? 100,
      1,
      600_000,
      'memoryFailure.decisionTimeoutMs',
    ),
    unclaimedAccess: checkOneOf(
      options['unclaimedAccess'] ?? 'abort',
      ['abort', 'stop', 'read-zero'],
      'unclaimedAccess',
    ),
    redact: checkBoolean(options['redact'] ?? false, 'redact'),
    sameFaultLimit: checkInteger(policy['sameFaultLimit'] ?? 3, 1, MAX_COUNT, 'memoryFailure.sameFaultLimit'),
    notifyGuest: checkNotifyGuest(policy['notifyGuest'], boot),
    deferMs: checkInteger(policy['deferMs'] ?? 200, 0, 60_000, 'memoryFailure.deferMs'),
  }
}

/** The function that decides, if there is one. */
export function toDecide(options: VmOptions): Decide | undefined {
  const decide: unknown = options.memoryFailure?.decide
  if (decide !== undefined && typeof decide !== 'function') {
    throw invalidOption('a function', 'memoryFailure.decide', decide)
  }
  return options.memoryFailure?.decide
}

function checkNotifyGuest(value: unknown, boot: NativeVmOptions['boot']): NativeVmOptions['notifyGuest'] {
  const hasAcpi = boot.type === 'linux' && boot.acpi
  if (value === undefined) return hasAcpi ? 'ghes' : 'none'
  const what = 'memoryFailure.notifyGuest'
  const way = checkOneOf(value, ['ghes', 'agent', 'none'], what)
  const [possible, how] =
    boot.type === 'flat'
      ? [['none'], 'from a flat image']
      : boot.acpi
        ? [['ghes', 'none'], 'with ACPI']
        : [['agent', 'none'], 'without ACPI']
  if (!possible.includes(way)) {
    const ways = possible.map((way) => `'${way}'`).join(' or ')
    throw invalidOption(`${ways}, where the guest is booted ${how},`, what, value)
  }
  return way
}

function checkThreshold(value: unknown): NativeVmOptions['threshold'] {
  if (value === undefined) return null
  const what = 'memoryFailure.threshold'
  const threshold = checkRecord(value, ['distinctPages', 'action'], what)
  return {
    distinctPages: checkInteger(threshold['distinctPages'], 1, MAX_COUNT, `${what}.distinctPages`),
    action: checkOneOf(threshold['action'], ['pause', 'stop', 'report'], `${what}.action`),
  }
}

function checkBackend(backend: unknown): NativeVmOptions['script'] {
  if (backend === 'kvm') return null
  if (typeof backend === 'object' && backend !== null && 'kind' in backend && backend.kind === 'simulated') {
    return toNativeScript('script' in backend ? backend.script : undefined)
  }
  throw invalidOption("'kvm' or simulated({ … })", 'backend', backend)
}

function checkBoot(value: unknown): NativeVmOptions['boot'] {
  const isLinux = typeof value === 'object' && value !== null && 'type' in value && value.type === 'linux'
  const boot = checkRecord(value, isLinux ? BOOT.linux : BOOT.flat, 'boot')
  const type = checkOneOf(boot['type'], ['flat', 'linux'], 'boot.type')
  if (type === 'linux') {
    const text = (name: 'initrd' | 'cmdline') =>
      boot[name] === undefined ? null : checkString(boot[name], `boot.${name}`)
    return {
      type,
      kernel: checkString(boot['kernel'], 'boot.kernel'),
      initrd: text('initrd'),
      cmdline: text('cmdline'),
      acpi: checkBoolean(boot['acpi'] ?? true, 'boot.acpi'),
    }
  }
  const address = (name: 'loadAddress' | 'entry') =>
    boot[name] === undefined ? null : checkU64(boot[name], `boot.${name}`)
  return {
    type,
    image: checkImage(boot['image']),
    loadAddress: address('loadAddress'),
    entry: address('entry'),
  }
}

function checkImage(image: unknown): string | Uint8Array {
  if (types.isUint8Array(image)) return image
  if (typeof image === 'string' && image !== '') return image
  throw invalidOption('a path or a Uint8Array', 'boot.image', image)
}
