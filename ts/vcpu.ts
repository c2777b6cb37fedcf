import { checkBoolean, checkInteger, checkOneOf, checkRecord, checkString, checkU64 } from './checks.ts'
import { MAX_ISS } from './decision.ts'
import type { Injection } from './events.ts'
import { type NativeInjection, type NativeVm, unwrap } from './native.ts'

/** A register by its Arm name in lower case. */
export type RegisterName =
  | `x${number}`
  | 'sp'
  | 'pc'
  | 'pstate'
  | 'sp_el1'
  | 'elr_el1'
  | 'spsr_el1'
  | 'esr_el1'
  | 'far_el1'
  | 'vbar_el1'
  | 'sctlr_el1'
  | (string & {})

/** How to inject an abort by hand. What is left open is taken from the vCPU's last access, if that was its last exit. */
export interface InjectOptions {
  /**
   * How much of the syndrome the guest reads. `restored`, the default: what the processor reported (FnV, SET, EA, WnR, CM,
   * the level of a table walk). `kvm`: what the kernel writes by itself, a bare external abort.
   */
  fidelity?: 'restored' | 'kvm'
  /** DFSC or IFSC, 6 bits. */
  faultStatus?: number
  /** The address for FAR_EL1; `null` says that it is not valid (FnV). */
  far?: bigint | null
  /** The severity. */
  set?: 'uer' | 'uc' | 'ueo'
  /** Whether it was a write; of no use for an instruction abort. */
  write?: boolean
}

/**
 * One vCPU of a VM. Its registers can be touched while it does not run: created, paused, stopped or failed; else
 * `ERR_VCPU_RUNNING`.
 */
export class Vcpu {
  /** The vCPU's number, from 0. */
  readonly index: number
  readonly #vm: NativeVm

  /** @internal */
  constructor(vm: NativeVm, index: number) {
    this.#vm = vm
    this.index = index
  }

  /** Reads a register. */
  async getRegister(name: RegisterName): Promise<bigint> {
    return unwrap(await this.#vm.getRegister(this.index, checkString(name, 'name')))
  }

  /**
   * Writes a register, 64 bits.
   *
   * @throws {@link SeawallError} `ERR_INVALID_OPTION` for a `pstate` of another mode than EL0t, EL1t, EL1h or AArch32 User: no
   * guest has EL2 (nested virtualisation) or an AArch32 kernel.
   */
  async setRegister(name: RegisterName, value: bigint): Promise<void> {
    unwrap(await this.#vm.setRegister(this.index, checkString(name, 'name'), checkU64(value, 'value')))
  }

  /**
   * Injects a data abort. After an access it is the abort of that access, in place of one that waits; before the first run,
   * or after a pause in the middle of something else, the whole exception entry is made of registers.
   *
   * @throws {@link SeawallError} `ERR_INVALID_INJECTION` after a PSCI call, after an injection that the guest has not taken
   * yet (one exception at a time), and in a mode that no guest of Seawall has.
   */
  injectDataAbort(options: InjectOptions = {}): Promise<Injection> {
    return this.#injectAbort('data', options)
  }

  /** Injects an instruction abort; otherwise like {@link Vcpu.injectDataAbort}. */
  injectInstructionAbort(options: InjectOptions = {}): Promise<Injection> {
    return this.#injectAbort('instruction', options)
  }

  /**
   * Injects an SError. The guest takes it at once, or when it unmasks it; an abort that waits goes on waiting.
   *
   * @param options - `iss`: the syndrome, 25 bits; needs FEAT_RAS.
   */
  async injectSError(options: { iss?: number } = {}): Promise<Injection> {
    const { iss } = checkRecord(options, ['iss'], 'options')
    const checked = iss === undefined ? null : checkInteger(iss, 0, MAX_ISS, 'iss')
    return toInjection(unwrap(await this.#vm.injectSerror(this.index, checked)))
  }

  async #injectAbort(kind: 'data' | 'instruction', value: InjectOptions): Promise<Injection> {
    const options = checkRecord(value, ['fidelity', 'faultStatus', 'far', 'set', 'write'], 'options')
    const { fidelity, faultStatus, far, set, write } = options
    const request = {
      kind,
      restored: checkOneOf(fidelity ?? 'restored', ['restored', 'kvm'], 'fidelity') === 'restored',
      faultStatus: faultStatus === undefined ? null : checkInteger(faultStatus, 0, 63, 'faultStatus'),
      far: far == null ? null : checkU64(far, 'far'),
      farInvalid: far === null,
      set: set === undefined ? null : checkOneOf(set, ['uer', 'uc', 'ueo'], 'set'),
      write: write === undefined ? null : checkBoolean(write, 'write'),
    }
    return toInjection(unwrap(await this.#vm.injectAbort(this.index, request)))
  }
}

/** Gives an injection its public form, in which an absent errno is no property. */
export function toInjection({ errno, ...injection }: NativeInjection): Injection {
  return errno === null ? injection : { ...injection, errno }
}
