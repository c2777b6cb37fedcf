// Holds the names and shapes of the public types. It compiles or it fails; there is nothing to run.
import type { EventEmitter } from 'node:events'
import type { Duplex } from 'node:stream'
import { expectTypeOf } from 'expect-type'
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

type EventOf<Type extends VmEvent['type']> = Extract<VmEvent, { type: Type }>
interface Base {
  schemaVersion: 1
  seq: number
  time: string
  monotonicNs: bigint
}

expectTypeOf<VmState>().branded.toEqualTypeOf<
  'created' | 'running' | 'paused' | 'stopped' | 'failed' | 'closed'
>()
expectTypeOf<PageState>().branded.toEqualTypeOf<
  'poisoned' | 'quarantined' | 'guest-retired' | 'host-offlined' | 'replaced'
>()
expectTypeOf<VmExit>().branded.toEqualTypeOf<{
  reason: 'shutdown' | 'reset' | 'crash' | 'requested' | 'policy' | 'failed'
  vcpu: number | null
  error?: SeawallError
}>()
expectTypeOf<HostSupport>().branded.toEqualTypeOf<{
  status: 'active' | 'inert' | 'unsupported'
  reasons: string[]
  kernel: string
  capabilities: Record<
    'armSeaToUser' | 'ras' | 'injectExtDabt' | 'nisvToUser' | 'userfaultfd' | 'hwpoison',
    boolean
  >
}>()
expectTypeOf<Injection>().branded.toEqualTypeOf<{
  method: 'vcpu-events' | 'vcpu-events+registers' | 'registers' | 'serror' | 'none'
  esr: bigint | null
  result: 'ok' | 'error'
  errno?: string
}>()
expectTypeOf<MemoryFailure>().branded.toEqualTypeOf<{
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
}>()
expectTypeOf<MemoryFailureEvent>().branded.toEqualTypeOf<
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
>()
expectTypeOf<InjectOptions>().branded.toEqualTypeOf<{
  fidelity?: 'restored' | 'kvm'
  faultStatus?: number
  far?: bigint | null
  set?: 'uer' | 'uc' | 'ueo'
  write?: boolean
}>()
expectTypeOf<Decision>().toEqualTypeOf<
  | { action: 'inject'; abort?: 'auto' | 'data' | 'instruction' }
  | { action: 'defer' }
  | { action: 'inject-serror'; iss?: number }
  | { action: 'pause' }
  | { action: 'stop' }
  | { action: 'resume' }
>()
expectTypeOf<EventOf<'memory-failure'>>().branded.toEqualTypeOf<MemoryFailureEvent>()
expectTypeOf<EventOf<'state-changed'>>().branded.toEqualTypeOf<
  Base & { type: 'state-changed'; from: VmState; to: VmState }
>()
expectTypeOf<EventOf<'exit'>>().branded.toEqualTypeOf<Base & { type: 'exit'; exit: VmExit }>()
expectTypeOf<EventOf<'guest-reset'>>().branded.toEqualTypeOf<Base & { type: 'guest-reset' }>()
expectTypeOf<EventOf<'page-state-changed'>>().branded.toEqualTypeOf<
  Base & { type: 'page-state-changed'; page: PoisonedPage; from: PageState }
>()
expectTypeOf<EventOf<'notification-failed'>>().branded.toEqualTypeOf<
  Base & { type: 'notification-failed'; source: 'sea' | 'gsiv' | 'agent'; reason: 'unread' | 'lost' }
>()
expectTypeOf<EventOf<'poison-threshold-reached'>>().branded.toEqualTypeOf<
  Base & { type: 'poison-threshold-reached'; distinctPages: number; action: 'pause' | 'stop' | 'report' }
>()
expectTypeOf<PoisonedPage>().branded.toEqualTypeOf<{
  gpa: bigint
  size: number
  state: PageState
  hits: number
  firstSeen: string
  source: MemoryFailure['source']
}>()
expectTypeOf<EventOf<'decision-fallback'>>().branded.toEqualTypeOf<
  Base & {
    type: 'decision-fallback'
    failure: number
    reason: 'timeout' | 'threw' | 'rejected' | 'invalid' | 'queue-full' | 'closing'
    error?: string
  }
>()
expectTypeOf<EventOf<'decision-late'>>().branded.toEqualTypeOf<
  Base & { type: 'decision-late'; failure: number; afterMs: number }
>()
expectTypeOf<EventOf<'events-lost'>>().branded.toEqualTypeOf<
  Base & { type: 'events-lost'; fromSeq: number; toSeq: number }
>()
expectTypeOf<EventOf<'unclaimed-access'>>().branded.toEqualTypeOf<
  Base & {
    type: 'unclaimed-access'
    vcpu: number
    kind: 'mmio' | 'nisv' | 'ldst64b'
    gpa: bigint
    write: boolean | null
    action: 'abort' | 'stop' | 'read-zero'
  }
>()
expectTypeOf<EventOf<'vcpu-failed'>>().branded.toEqualTypeOf<
  Base & { type: 'vcpu-failed'; vcpu: number; error: { code: string; message: string } }
>()
expectTypeOf<Syndrome>().branded.toEqualTypeOf<{
  esr: bigint
  exceptionClass: number
  name: string
  il: boolean
  abort: MemoryFailure['abort']
  fields: { name: string; bits: [number, number]; value: bigint; meaning: string }[]
}>()

expectTypeOf<VmStats>().branded.toEqualTypeOf<{
  exits: Record<string, bigint>
  failures: bigint
  delivered: bigint
  lost: bigint
  consoleBytesLost: bigint
  decisions: { asked: bigint; late: bigint; fallback: bigint; waitedNs: bigint }
}>()
expectTypeOf<typeof seawall.probeHost>().toEqualTypeOf<() => HostSupport>()
expectTypeOf<typeof seawall.decodeEsr>().toEqualTypeOf<(esr: bigint) => Syndrome>()
expectTypeOf<typeof seawall.formatEsr>().toEqualTypeOf<(esr: bigint) => string>()
expectTypeOf<typeof seawall.toQmp>().toEqualTypeOf<(event: MemoryFailureEvent) => QmpMemoryFailure | null>()
expectTypeOf<typeof seawall.toLibvirt>().toEqualTypeOf<
  (event: MemoryFailureEvent) => LibvirtMemoryFailure | null
>()
expectTypeOf<typeof seawall.jsonReplacer>().toExtend<(key: string, value: unknown) => unknown>()
expectTypeOf<typeof seawall.jsonReviver>().toEqualTypeOf<(key: string, value: unknown) => unknown>()
expectTypeOf<QmpMemoryFailure>().branded.toEqualTypeOf<{
  recipient: 'hypervisor' | 'guest'
  action: 'ignore' | 'inject' | 'fatal' | 'reset'
  flags: { 'action-required': boolean; recursive: boolean }
}>()
expectTypeOf<LibvirtMemoryFailure>().branded.toEqualTypeOf<{
  recipient: 0 | 1
  action: 0 | 1 | 2 | 3
  flags: number
}>()
expectTypeOf<typeof Vm.create>().toEqualTypeOf<(options: VmOptions) => Promise<Vm>>()
expectTypeOf<Vm>().toExtend<EventEmitter & AsyncDisposable>()
expectTypeOf<Vm>().toExtend<{
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
}>()
expectTypeOf<Vcpu>().toExtend<{
  readonly index: number
  getRegister(name: 'x0' | 'esr_el1'): Promise<bigint>
  setRegister(name: 'pc', value: bigint): Promise<void>
  injectDataAbort(options?: InjectOptions): Promise<Injection>
  injectInstructionAbort(options?: InjectOptions): Promise<Injection>
  injectSError(options?: { iss?: number }): Promise<Injection>
}>()
expectTypeOf<SimulatedBackend>().toExtend<{ readonly kind: 'simulated' }>()
expectTypeOf<SeawallError>().toExtend<Error & { code: `ERR_${string}`; syscall?: string; errno?: string }>()

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
expectTypeOf<keyof typeof options>().toEqualTypeOf<keyof VmOptions>()

export function listen(vm: Vm): Vm {
  // @ts-expect-error There is no such event: Node's 'error' is never emitted.
  vm.on('error', () => {})
  return vm.on('memory-failure', (event) =>
    expectTypeOf<typeof event>().branded.toEqualTypeOf<MemoryFailureEvent>(),
  )
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
