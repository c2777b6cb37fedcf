import { checkRecord } from './checks.ts'
import { toNativeScript } from './script.ts'

/** One thing that a simulated guest does. */
export type SimulatedStep =
  | {
      /** Consumes a memory error. What KVM does then is modelled: an exit, or an SError where the capability is off. */
      step: 'sea'
      /** What the exit reports; its FnV bit decides whether it has a `gva`. */
      esr: bigint
      /** The address of the access: FAR_EL2. Default 0. */
      far?: bigint
      /** The page the exit reports; `null`, the default, where the kernel does not know it. */
      gpa?: bigint | null
      /** The instruction that consumes it. Default 0x80000000. */
      pc?: bigint
      /** The state it runs in, in SPSR format. Default 0: EL0, nothing masked. */
      pstate?: bigint
      /** The kernel accepts an injection and does nothing, as it may after an abort on a stage-1 table walk. */
      ignoresInjection?: boolean
    }
  | {
      /**
       * Takes an abort that KVM injects by itself, without an exit: a fetch from an address without memory, or a walk
       * through a table there.
       */
      step: 'kernel-abort'
      /** The kind of abort, and its fault status. */
      esr: bigint
      /** The address of the access. Default 0. */
      far?: bigint
      /** The instruction that gets it. Default 0x80000000. */
      pc?: bigint
      /** The state it runs in, in SPSR format. Default 0: EL0, nothing masked. */
      pstate?: bigint
    }
  | {
      /** Writes to the console. */
      step: 'print'
      /** What; `{esr_el1}`, `{far_el1}`, `{x0}` and the like stand for register values in hexadecimal. */
      text: string
    }
  | {
      /** Loads from an address without memory. */
      step: 'mmio-read'
      /** The guest-physical address. */
      gpa: bigint
      /** 1, 2, 4 or 8 bytes. */
      size: number
    }
  | {
      /** Stores to an address without memory. */
      step: 'mmio-write'
      /** The guest-physical address. */
      gpa: bigint
      /** 1, 2, 4 or 8 bytes. */
      data: Uint8Array
    }
  | {
      /** Accesses an address without memory by an instruction that reports no syndrome. */
      step: 'nisv'
      /** The guest-physical address. */
      gpa: bigint
      /** CM, WnR and FSC of the syndrome. Default 0. */
      iss?: bigint
    }
  | {
      /** Writes a register of its own. */
      step: 'set-register'
      /** Which, such as `x0`. */
      name: string
      /** The value, 64 bits. */
      value: bigint
    }
  | {
      /** Asks for power-off or reset, or crashes. */
      step: 'shutdown' | 'reset' | 'crash'
    }
  | {
      /** Runs without leaving the guest. */
      step: 'run'
      /** For so many microseconds: a minute at most. */
      us: number
    }
  | {
      /** Runs for ever. */
      step: 'spin'
    }
  | {
      /** Leaves the guest for a reason of any number. */
      step: 'exit'
      /** The number. */
      reason: number
    }
  | {
      /** `KVM_RUN` fails. */
      step: 'fail'
      /** With this number, 1 to 4095. */
      errno: number
    }
  | {
      /** The next injection fails. */
      step: 'refuse-injection'
      /** With this number, 1 to 4095. */
      errno: number
    }
  | {
      /** Every write of a register fails, from here on. */
      step: 'refuse-register'
      /** Which, such as `esr_el1`. */
      name: string
      /** With this number, 1 to 4095. */
      errno: number
    }

/** A backend that plays a script instead of a guest. Every event says so: `backend: 'simulated'`. */
export interface SimulatedBackend {
  /** Always `simulated`. */
  readonly kind: 'simulated'
  /** The steps of each vCPU, by index. */
  readonly script: readonly (readonly SimulatedStep[])[]
}

/**
 * Makes a backend that plays a script: the same run loop, policy and events, over vCPUs that do what KVM would. For hosts
 * without KVM, and for tests of handlers.
 *
 * @example
 * ```ts
 * import { simulated, Vm } from 'seawall'
 *
 * await using vm = await Vm.create({
 *   memory: 2 ** 20,
 *   boot: { type: 'flat', image: new Uint8Array(4) },
 *   backend: simulated({ script: [[{ step: 'sea', esr: 0x92000010n, gpa: 0x80010000n }, { step: 'shutdown' }]] }),
 * })
 * vm.on('memory-failure', (event) => console.log(event.consumer?.mode, event.action)) // user inject
 * await vm.start()
 * console.log((await vm.wait()).reason) // shutdown
 * ```
 *
 * @throws {@link SeawallError} `ERR_INVALID_OPTION` for a script that cannot be played.
 */
export function simulated(options: { script: readonly (readonly SimulatedStep[])[] }): SimulatedBackend {
  const { script } = checkRecord(options, ['script'], 'options')
  toNativeScript(script)
  return { kind: 'simulated', script: options.script }
}
