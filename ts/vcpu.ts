import { checkOneOf, checkRecord, checkString, checkU64 } from './checks.ts'
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

/** How to inject an abort by hand. */
export interface InjectOptions {
  /**
   * How much of the syndrome the guest reads. `restored`, the default: what the processor reported (FnV, SET, EA, WnR, CM,
   * the level of a table walk). `kvm`: what the kernel writes by itself, a bare external abort.
   */
  fidelity?: 'restored' | 'kvm'
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

  /** Writes a register, 64 bits. */
  async setRegister(name: RegisterName, value: bigint): Promise<void> {
    unwrap(await this.#vm.setRegister(this.index, checkString(name, 'name'), checkU64(value, 'value')))
  }

  /**
   * Injects a data abort for the access that the vCPU's last exit reported, in place of one that waits.
   *
   * @throws {@link SeawallError} `ERR_INVALID_INJECTION` where the last exit was no access.
   */
  async injectDataAbort(options: InjectOptions = {}): Promise<Injection> {
    const { fidelity } = checkRecord(options, ['fidelity'], 'options')
    const wanted = checkOneOf(fidelity ?? 'restored', ['restored', 'kvm'], 'fidelity')
    return toInjection(unwrap(await this.#vm.injectDataAbort(this.index, wanted === 'restored')))
  }
}

/** Gives an injection its public form, in which an absent errno is no property. */
export function toInjection({ errno, ...injection }: NativeInjection): Injection {
  return errno === null ? injection : { ...injection, errno }
}
