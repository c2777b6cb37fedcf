// Holds the names and shapes of the public types. It compiles or it fails; there is nothing to run.
import type { EventEmitter } from 'node:events'
import type { Duplex } from 'node:stream'
import type * as seawall from 'seawall'
import type {
  Decision,
  HostSupport,
  Injection,
  InjectOptions,
  LibvirtMemoryFailure,
  MemoryFailure,
  MemoryFailureEvent,
  PageState,
  PoisonedPage,
  QmpMemoryFailure,
  SeawallError,
  SimulatedBackend,
  Syndrome,
  Vcpu,
  Vm,
  VmEvent,
  VmExit,
  VmOptions,
  VmState,
  VmStats,
} from 'seawall'

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
/** Interfaces and intersections written out, so that equal shapes compare as equal. */
type Flat<T> = T extends bigint | string | number | boolean | null | undefined | Error
  ? T
  : { [Key in keyof T]: Flat<T[Key]> }
type Same<A, B> = Equal<Flat<A>, Flat<B>>

function hold<_Claim extends true>(): void {}

type EventOf<Type extends VmEvent['type']> = Extract<VmEvent, { type: Type }>
interface Base {
  schemaVersion: 1
  seq: number
  time: string
  monotonicNs: bigint
}

hold<Same<VmState, 'created' | 'running' | 'paused' | 'stopped' | 'failed' | 'closed'>>()
hold<Same<PageState, 'poisoned' | 'quarantined' | 'guest-retired' | 'host-offlined' | 'replaced'>>()
hold<
  Same<
    VmExit,
    {
      reason: 'shutdown' | 'reset' | 'crash' | 'requested' | 'policy' | 'failed'
      vcpu: number | null
      error?: SeawallError
    }
  >
>()
hold<
  Same<
    HostSupport,
    {
      status: 'active' | 'inert' | 'unsupported'
      reasons: string[]
      kernel: string
      capabilities: Record<
        'armSeaToUser' | 'ras' | 'injectExtDabt' | 'nisvToUser' | 'userfaultfd' | 'hwpoison',
        boolean
      >
    }
  >
>()
hold<
  Same<
    Injection,
    {
      method: 'vcpu-events' | 'vcpu-events+registers' | 'registers' | 'serror' | 'none'
      esr: bigint | null
      result: 'ok' | 'error'
      errno?: string
    }
  >
>()
hold<
  Same<
    MemoryFailure,
    {
      seq: number
      vm: { id: string; name: string | null }
      backend: 'kvm' | 'simulated'
      vcpu: number | null
      source: 'sea' | 'sigbus-ar' | 'sigbus-ao' | 'quarantined-page' | 'device-access' | 'reported'
      severity: 'recoverable' | 'fatal'
      abort: null | {
        kind: 'data' | 'instruction'
        esr: bigint
        exceptionClass: number
        faultStatus: number
        cause: 'external' | 'external-table-walk' | 'parity-ecc' | 'parity-ecc-table-walk' | 'other'
        walkLevel: number | null
        set: 'uer' | 'uc' | 'ueo' | 'reserved' | 'unknown'
        write: boolean | null
        cacheMaintenance: boolean
        externalType: boolean
      }
      signal: null | { code: 'BUS_MCEERR_AR' | 'BUS_MCEERR_AO' | 'BUS_OBJERR'; lsb: number }
      gva: bigint | null
      gpa: bigint | null
      consumer: null | { mode: 'user' | 'kernel'; pc: bigint | null; pstate: bigint | null }
      page: null | { gpa: bigint; size: number; first: boolean; hits: number; state: PageState }
    }
  >
>()
hold<
  Same<
    MemoryFailureEvent,
    Base &
      MemoryFailure & {
        type: 'memory-failure'
        recipient: 'guest' | 'hypervisor'
        action: 'ignore' | 'inject' | 'inject-serror' | 'defer' | 'pause' | 'stop' | 'resume'
        flags: { actionRequired: boolean; recursive: boolean }
        decidedBy: 'policy' | 'decide' | 'fallback'
        reason: string
        quarantine: null | { method: 'userfaultfd' | 'memslot-hole' | 'hwpoison'; granule: number }
        notified: null | { source: 'sea' | 'gsiv' | 'agent'; acked: boolean | null }
        deferral: null | { retries: number; ms: number; outcome: 'retired' | 'deadline' }
        injection: Injection | null
        ledger: { distinctPages: number; total: number }
      }
  >
>()
hold<
  Same<
    InjectOptions,
    {
      fidelity?: 'restored' | 'kvm'
      faultStatus?: number
      far?: bigint | null
      set?: 'uer' | 'uc' | 'ueo'
      write?: boolean
    }
  >
>()
hold<
  Equal<
    Decision,
    | { action: 'inject'; abort?: 'auto' | 'data' | 'instruction' }
    | { action: 'defer' }
    | { action: 'inject-serror'; iss?: number }
    | { action: 'pause' }
    | { action: 'stop' }
    | { action: 'resume' }
  >
>()
hold<Same<EventOf<'memory-failure'>, MemoryFailureEvent>>()
hold<Same<EventOf<'state-changed'>, Base & { type: 'state-changed'; from: VmState; to: VmState }>>()
hold<Same<EventOf<'exit'>, Base & { type: 'exit'; exit: VmExit }>>()
hold<Same<EventOf<'guest-reset'>, Base & { type: 'guest-reset' }>>()
hold<
  Same<
    EventOf<'page-state-changed'>,
    Base & { type: 'page-state-changed'; page: PoisonedPage; from: PageState }
  >
>()
hold<
  Same<
    EventOf<'notification-failed'>,
    Base & { type: 'notification-failed'; source: 'sea' | 'gsiv' | 'agent'; reason: 'unread' | 'lost' }
  >
>()
hold<
  Same<
    EventOf<'poison-threshold-reached'>,
    Base & { type: 'poison-threshold-reached'; distinctPages: number; action: 'pause' | 'stop' | 'report' }
  >
>()
hold<
  Same<
    PoisonedPage,
    {
      gpa: bigint
      size: number
      state: PageState
      hits: number
      firstSeen: string
      source: MemoryFailure['source']
    }
  >
>()
hold<
  Same<
    EventOf<'decision-fallback'>,
    Base & {
      type: 'decision-fallback'
      failure: number
      reason: 'timeout' | 'threw' | 'rejected' | 'invalid' | 'queue-full' | 'closing'
      error?: string
    }
  >
>()
hold<Same<EventOf<'decision-late'>, Base & { type: 'decision-late'; failure: number; afterMs: number }>>()
hold<Same<EventOf<'events-lost'>, Base & { type: 'events-lost'; fromSeq: number; toSeq: number }>>()
hold<
  Same<
    EventOf<'unclaimed-access'>,
    Base & {
      type: 'unclaimed-access'
      vcpu: number
      kind: 'mmio' | 'nisv' | 'ldst64b'
      gpa: bigint
      write: boolean | null
      action: 'abort' | 'stop' | 'read-zero'
    }
  >
>()
hold<
  Same<
    EventOf<'vcpu-failed'>,
    Base & { type: 'vcpu-failed'; vcpu: number; error: { code: string; message: string } }
  >
>()
hold<
  Same<
    Syndrome,
    {
      esr: bigint
      exceptionClass: number
      name: string
      il: boolean
      abort: MemoryFailure['abort']
      fields: { name: string; bits: [number, number]; value: bigint; meaning: string }[]
    }
  >
>()

hold<
  Same<
    VmStats,
    {
      exits: Record<string, bigint>
      failures: bigint
      delivered: bigint
      lost: bigint
      consoleBytesLost: bigint
      decisions: { asked: bigint; late: bigint; fallback: bigint; waitedNs: bigint }
    }
  >
>()
hold<Equal<typeof seawall.probeHost, () => HostSupport>>()
hold<Equal<typeof seawall.decodeEsr, (esr: bigint) => Syndrome>>()
hold<Equal<typeof seawall.formatEsr, (esr: bigint) => string>>()
hold<Equal<typeof seawall.toQmp, (event: MemoryFailureEvent) => QmpMemoryFailure | null>>()
hold<Equal<typeof seawall.toLibvirt, (event: MemoryFailureEvent) => LibvirtMemoryFailure | null>>()
hold<typeof seawall.jsonReplacer extends (key: string, value: unknown) => unknown ? true : false>()
hold<Equal<typeof seawall.jsonReviver, (key: string, value: unknown) => unknown>>()
hold<
  Same<
    QmpMemoryFailure,
    {
      recipient: 'hypervisor' | 'guest'
      action: 'ignore' | 'inject' | 'fatal' | 'reset'
      flags: { 'action-required': boolean; recursive: boolean }
    }
  >
>()
hold<Same<LibvirtMemoryFailure, { recipient: 0 | 1; action: 0 | 1 | 2 | 3; flags: number }>>()
hold<Equal<typeof Vm.create, (options: VmOptions) => Promise<Vm>>>()
hold<Vm extends EventEmitter & AsyncDisposable ? true : false>()
hold<
  Vm extends {
    readonly id: string
    readonly name: string | null
    readonly state: VmState
    readonly vcpus: readonly Vcpu[]
    readonly console: Duplex
    readonly memory: { read(gpa: bigint, length: number): Buffer; write(gpa: bigint, data: Uint8Array): void }
    start(): Promise<void>
    pause(): Promise<void>
    resume(options?: { decisions?: Map<number, Decision> }): Promise<void>
    pendingFailures(): MemoryFailure[]
    stop(): Promise<VmExit>
    wait(): Promise<VmExit>
    close(): Promise<{ unretiredHostPages: number }>
    poisonedPages(): PoisonedPage[]
    reportPoison(gpa: bigint, length: number): Promise<void>
    replacePage(gpa: bigint): Promise<void>
    stats(): VmStats
    events(options?: { signal?: AbortSignal }): AsyncIterableIterator<VmEvent>
    ref(): Vm
    unref(): Vm
  }
    ? true
    : false
>()
hold<
  Vcpu extends {
    readonly index: number
    getRegister(name: 'x0' | 'esr_el1'): Promise<bigint>
    setRegister(name: 'pc', value: bigint): Promise<void>
    injectDataAbort(options?: InjectOptions): Promise<Injection>
    injectInstructionAbort(options?: InjectOptions): Promise<Injection>
    injectSError(options?: { iss?: number }): Promise<Injection>
  }
    ? true
    : false
>()
hold<SimulatedBackend extends { readonly kind: 'simulated' } ? true : false>()
hold<
  SeawallError extends Error & { code: `ERR_${string}`; syscall?: string; errno?: string } ? true : false
>()

// Every option of an example that names all of them, and listeners that know their event.
const options = {
  id: 'a',
  name: 'b',
  memory: 4096,
  hugetlb: '2M',
  vcpus: 1,
  backend: 'kvm',
  boot: { type: 'flat', image: 'guest.bin', loadAddress: 0x8000_0000n, entry: 0x8000_0000n },
  onReset: 'exit',
  memoryFailure: {
    recoverable: 'inject',
    uncontainable: 'stop',
    quarantine: true,
    threshold: { distinctPages: 4, action: 'report' },
    sameFaultLimit: 3,
    notifyGuest: 'none',
    deferMs: 200,
    decide: async () => ({ action: 'inject' }),
    decisionTimeoutMs: 100,
  },
  unclaimedAccess: 'abort',
  capabilities: { armSeaToUser: true, armNisvToUser: true },
  redact: false,
} as const satisfies Required<VmOptions>
hold<Equal<keyof typeof options, keyof VmOptions>>()

export function listen(vm: Vm): Vm {
  // @ts-expect-error There is no such event: Node's 'error' is never emitted.
  vm.on('error', () => {})
  return vm.on('memory-failure', (event) => hold<Same<typeof event, MemoryFailureEvent>>())
}

/** A switch over all events needs no default. */
export function describe(event: VmEvent): string {
  switch (event.type) {
    case 'memory-failure':
    case 'state-changed':
    case 'exit':
    case 'guest-reset':
    case 'unclaimed-access':
    case 'decision-fallback':
    case 'decision-late':
    case 'page-state-changed':
    case 'poison-threshold-reached':
    case 'notification-failed':
    case 'events-lost':
    case 'vcpu-failed':
      return event.type
  }
}
