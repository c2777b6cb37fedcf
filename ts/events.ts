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
  vm: {
    /** Its name for machines, `VmOptions.id`. */
    id: string
    /** Its name for people, where it was given one. */
    name: string | null
  }
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
  signal: null | {
    /** The signal's code: action required, action optional, or a bus error that says no more. */
    code: 'BUS_MCEERR_AR' | 'BUS_MCEERR_AO' | 'BUS_OBJERR'
    /** The size of what is lost, as a power of 2 in bytes: 12 is 4 KiB. */
    lsb: number
  }
  /** The guest-virtual address; `null` where ESR.FnV is set, and where the VM's events are redacted. */
  gva: bigint | null
  /** The guest-physical page; `null` where the kernel does not know it. */
  gpa: bigint | null
  /** Who consumed it. */
  consumer: null | {
    /** `user`: a guest application, at EL0. `kernel`: the guest's kernel, at EL1. */
    mode: 'user' | 'kernel'
    /** The instruction's address; `null` exactly where the VM's events are redacted. */
    pc: bigint | null
    /** The vCPU's state, in SPSR format; `null` exactly where the VM's events are redacted. */
    pstate: bigint | null
  }
  /** What the ledger says of the page, with this failure counted; `null` where `gpa` is, or names no guest RAM. */
  page: null | {
    /** Its first byte. */
    gpa: bigint
    /** Its size in bytes. */
    size: number
    /** Whether this is the first failure of the page. */
    first: boolean
    /** How often it was consumed. */
    hits: number
    /** What has been done about it. */
    state: PageState
  }
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
    /** A memory error: who met it, what was decided, what was done. */
    type: 'memory-failure'
    /** Who has to deal with it. */
    recipient: 'guest' | 'hypervisor'
    /** What was done. */
    action: 'ignore' | 'inject' | 'inject-serror' | 'defer' | 'pause' | 'stop' | 'resume'
    /** What more is known of how it was met. */
    flags: {
      /** The guest could not go on without. */
      actionRequired: boolean
      /** It is the same instruction and page as at the last injection. */
      recursive: boolean
    }
    /** Who decided. */
    decidedBy: 'policy' | 'decide' | 'fallback'
    /** Why, in words. */
    reason: string
    /** How further accesses to the page are kept off the hardware. */
    quarantine: null | {
      /** What keeps them off. */
      method: 'userfaultfd' | 'memslot-hole' | 'hwpoison'
      /** How many bytes are out of reach with it. */
      granule: number
    }
    /** How the guest was told which page is lost. */
    notified: null | {
      /** By an ACPI error record with an exception, by one with an interrupt, or by its agent. */
      source: 'sea' | 'gsiv' | 'agent'
      /** Its kernel has read the record, or where its agent was told has retired the page; `null` while it still may. */
      acked: boolean | null
    }
    /** How long a kernel-mode consumer was made to retry. */
    deferral: null | {
      /** How often the access ran again. */
      retries: number
      /** How long it took, in milliseconds. */
      ms: number
      /** `retired`: the vCPU went on without the page. `deadline`: it did not, and got the abort. */
      outcome: 'retired' | 'deadline'
    }
    /** The injection, where there was one. */
    injection: Injection | null
    /** What the VM has lost so far, this failure counted. */
    ledger: {
      /** How many different pages are lost. */
      distinctPages: number
      /** How many failures there were. */
      total: number
    }
  }

/** Everything that happens to a virtual machine, as one union on `type`. */
export type VmEvent =
  | MemoryFailureEvent
  | (EventBase & {
      /** The VM is in another state. */
      type: 'state-changed'
      /** The state it was in. */
      from: VmState
      /** The state it is in. */
      to: VmState
    })
  | (EventBase & {
      /** The VM has ended, once. */
      type: 'exit'
      /** How. */
      exit: VmExit
    })
  | (EventBase & {
      /** The guest asked for a reset and boots again, because `onReset` is `restart`; otherwise a reset ends the VM. */
      type: 'guest-reset'
    })
  | (EventBase & {
      /** The guest accessed an address where nothing is. */
      type: 'unclaimed-access'
      /** The vCPU that accessed it. */
      vcpu: number
      /** `mmio`: a load or store. `nisv`: an access without a syndrome. `ldst64b`: one of 64 bytes at once. */
      kind: 'mmio' | 'nisv' | 'ldst64b'
      /** The guest-physical address. */
      gpa: bigint
      /** Whether it was a write; `null` where nobody knows. */
      write: boolean | null
      /** What was done: what `unclaimedAccess` says, or the abort where an access without a syndrome cannot read zero. */
      action: 'abort' | 'stop' | 'read-zero'
    })
  | (EventBase & {
      /** Something more was done about a lost page. */
      type: 'page-state-changed'
      /** The page, in its new state. */
      page: PoisonedPage
      /** The state it was in. */
      from: PageState
    })
  | (EventBase & {
      /** The guest has lost as many pages as `memoryFailure.threshold` allows. */
      type: 'poison-threshold-reached'
      /** How many different pages are lost. */
      distinctPages: number
      /** What the threshold says. */
      action: 'pause' | 'stop' | 'report'
    })
  | (EventBase & {
      /**
       * The guest is not told of lost memory by `source`. Pages that it has not read of stay `quarantined`, and an access to
       * one gets its abort as if `notifyGuest` were `none`.
       */
      type: 'notification-failed'
      /** The way in which it is not told. */
      source: 'sea' | 'gsiv' | 'agent'
      /**
       * `unread`: it has not read a record, or its agent has not answered, for five seconds; it may do so later. `lost`: memory
       * that the source needs is lost itself, until the guest boots again.
       */
      reason: 'unread' | 'lost'
    })
  | (EventBase & {
      /** `decide` gave no usable answer, and the policy decided. */
      type: 'decision-fallback'
      /** The number of the failure's event. */
      failure: number
      /** Why there was none. */
      reason: 'timeout' | 'threw' | 'rejected' | 'invalid' | 'queue-full' | 'closing'
      /** What `decide` threw, or what is wrong with its answer, in words. */
      error?: string
    })
  | (EventBase & {
      /** An answer of `decide` came too late, and was not used. */
      type: 'decision-late'
      /** The number of the failure's event. */
      failure: number
      /** How many milliseconds after the question it came. */
      afterMs: number
    })
  | (EventBase & {
      /** The reader was too slow, and events are lost to it. */
      type: 'events-lost'
      /** The number of the first that is lost. */
      fromSeq: number
      /** The number of the last. */
      toSeq: number
    })
  | (EventBase & {
      /** A vCPU cannot go on. */
      type: 'vcpu-failed'
      /** Which. */
      vcpu: number
      /** Why. */
      error: {
        /** A code of `SeawallErrorCode`. */
        code: string
        /** The same in words, for people. */
        message: string
      }
    })

/** The listeners' arguments, by event. */
export type VmEvents = { [Type in VmEvent['type']]: [event: Extract<VmEvent, { type: Type }>] }
