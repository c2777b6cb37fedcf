import type { SeawallError } from './errors.ts'
import type { Abort } from './syndrome.ts'

/** Where a virtual machine is in its life. */
export type VmState = 'created' | 'running' | 'paused' | 'stopped' | 'failed' | 'closed'

/** How a virtual machine ended. */
export interface VmExit {
  /**
   * `shutdown`, `reset`: the guest asked for it by PSCI. `crash`: the guest crashed. `requested`: `stop()` or `close()`.
   * `policy`: the policy stops on such a memory error. `failed`: it could not go on, and `error` says why.
   */
  reason: 'shutdown' | 'reset' | 'crash' | 'requested' | 'policy' | 'failed'
  /** The vCPU that ended it, where one did. */
  vcpu: number | null
  /** Why, where the reason is `failed`. */
  error?: SeawallError
}

/** What has been done about a lost page. */
export type PageState = 'poisoned' | 'quarantined' | 'guest-retired' | 'host-offlined' | 'replaced'

/** A page that a guest has lost. */
export interface PoisonedPage {
  /** Its first byte. */
  gpa: bigint
  /** Its size in bytes. */
  size: number
  /** What has been done about it. */
  state: PageState
  /** How often it was consumed. */
  hits: number
  /** When it was first consumed, RFC 3339 in UTC. */
  firstSeen: string
  /** How it was found. */
  source: MemoryFailure['source']
}

/** How an exception was injected, and what came of it. */
export interface Injection {
  /**
   * `vcpu-events`: by the kernel alone. `vcpu-events+registers`: by the kernel, then the syndrome restored.
   * `registers`: the whole exception entry by register writes, because the kernel did nothing.
   */
  method: 'vcpu-events' | 'vcpu-events+registers' | 'registers' | 'serror' | 'none'
  /** What the guest's handler reads in ESR_EL1. */
  esr: bigint | null
  /** Whether it happened. */
  result: 'ok' | 'error'
  /** What the kernel answered, where it refused. */
  errno?: string
}

/** A memory error that a guest consumed. Addresses are in bytes; `null` is "not known", never 0. */
export interface MemoryFailure {
  /** The number of the event that reports it. */
  seq: number
  /** The virtual machine. */
  vm: { id: string; name: string | null }
  /** `simulated` where a script played it: a simulation never passes for the real thing. */
  backend: 'kvm' | 'simulated'
  /** The vCPU that consumed it. */
  vcpu: number | null
  /** How it was found; `sea` is `KVM_EXIT_ARM_SEA`. */
  source: 'sea' | 'sigbus-ar' | 'sigbus-ao' | 'quarantined-page' | 'device-access' | 'reported'
  /** `fatal` where the processor's state cannot be trusted. */
  severity: 'recoverable' | 'fatal'
  /** The decoded syndrome. */
  abort: Abort | null
  /** The signal, where it came as one. */
  signal: null | { code: 'BUS_MCEERR_AR' | 'BUS_MCEERR_AO' | 'BUS_OBJERR'; lsb: number }
  /** The guest-virtual address; `null` where ESR.FnV is set, and where the VM's events are redacted. */
  gva: bigint | null
  /** The guest-physical page; `null` where the kernel does not know it. */
  gpa: bigint | null
  /**
   * Who consumed it: a guest application (`user`, EL0) or the guest's kernel (EL1). `pc` and `pstate` are `null` exactly where
   * the VM's events are redacted.
   */
  consumer: null | { mode: 'user' | 'kernel'; pc: bigint | null; pstate: bigint | null }
  /** What the ledger says of the page, with this failure counted; `size` in bytes. */
  page: null | { gpa: bigint; size: number; first: boolean; hits: number; state: PageState }
}

/** What every event has. */
export interface EventBase {
  /** The version of the events' shapes. */
  schemaVersion: 1
  /**
   * One sequence per VM, from 1, with no gap but those an `events-lost` names. A failure that `decide` is asked about has its
   * number from then on, and is told when it was dealt with: after events of higher numbers that came meanwhile.
   */
  seq: number
  /** The wall clock, RFC 3339 in UTC. */
  time: string
  /** The host's monotonic clock in nanoseconds, the one of `process.hrtime.bigint()`. */
  monotonicNs: bigint
}

/** A memory error, what was decided, and what was done. */
export type MemoryFailureEvent = EventBase &
  MemoryFailure & {
    type: 'memory-failure'
    /** Who has to deal with it. */
    recipient: 'guest' | 'hypervisor'
    /** What was done. */
    action: 'ignore' | 'inject' | 'inject-serror' | 'defer' | 'pause' | 'stop' | 'resume'
    /** `actionRequired`: the guest could not go on. `recursive`: the same instruction and page as the last injection. */
    flags: { actionRequired: boolean; recursive: boolean }
    /** Who decided. */
    decidedBy: 'policy' | 'decide' | 'fallback'
    /** Why, in words. */
    reason: string
    /** How further accesses to the page are kept off the hardware. */
    quarantine: null | { method: 'userfaultfd' | 'memslot-hole' | 'hwpoison'; granule: number }
    /**
     * How the guest was told which page is lost. `acked`: its kernel has read the record, or where its agent was told has retired
     * the page; `null` while it still may.
     */
    notified: null | { source: 'sea' | 'gsiv' | 'agent'; acked: boolean | null }
    /** How long a kernel-mode consumer was made to retry. */
    deferral: null | { retries: number; ms: number; outcome: 'retired' | 'deadline' }
    /** The injection, where there was one. */
    injection: Injection | null
    /** How many different pages of this VM are lost, and how many failures there were, this one counted. */
    ledger: { distinctPages: number; total: number }
  }

/** Everything that happens to a virtual machine, as one union on `type`. */
export type VmEvent =
  | MemoryFailureEvent
  | (EventBase & { type: 'state-changed'; from: VmState; to: VmState })
  | (EventBase & { type: 'exit'; exit: VmExit })
  /** The guest asked for a reset and boots again, because `onReset` is `restart`; otherwise a reset ends the VM. */
  | (EventBase & { type: 'guest-reset' })
  | (EventBase & {
      type: 'unclaimed-access'
      vcpu: number
      kind: 'mmio' | 'nisv' | 'ldst64b'
      gpa: bigint
      write: boolean | null
      action: 'abort' | 'stop' | 'read-zero'
    })
  | (EventBase & { type: 'page-state-changed'; page: PoisonedPage; from: PageState })
  | (EventBase & {
      type: 'poison-threshold-reached'
      distinctPages: number
      action: 'pause' | 'stop' | 'report'
    })
  /**
   * The guest is not told of lost memory by `source`: it has not read a record, or its agent has not answered, for five seconds (`unread`; it may
   * do so later), or memory that the source needs is lost itself (`lost`; until the guest boots again). Pages that it has not read of
   * stay `quarantined`, and an access to one gets its abort as if `notifyGuest` were `none`.
   */
  | (EventBase & { type: 'notification-failed'; source: 'sea' | 'gsiv' | 'agent'; reason: 'unread' | 'lost' })
  | (EventBase & {
      type: 'decision-fallback'
      failure: number
      reason: 'timeout' | 'threw' | 'rejected' | 'invalid' | 'queue-full' | 'closing'
      error?: string
    })
  | (EventBase & { type: 'decision-late'; failure: number; afterMs: number })
  | (EventBase & { type: 'events-lost'; fromSeq: number; toSeq: number })
  | (EventBase & { type: 'vcpu-failed'; vcpu: number; error: { code: string; message: string } })

/** The listeners' arguments, by event. */
export type VmEvents = { [Type in VmEvent['type']]: [event: Extract<VmEvent, { type: Type }>] }
