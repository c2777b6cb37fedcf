import type { MemoryFailureEvent, SimulatedStep, Vm, VmEvent, VmExit, VmOptions } from 'seawall'

/** What a guest's own handler read in its registers, from the line it printed. */
export interface GuestException {
  /** The offset from VBAR_EL1 it was taken to. */
  vector: bigint
  esr: bigint
  far: bigint
  spsr: bigint
}

/** Part of an event: what is named must be equal. */
export type Like<T> = {
  [Key in keyof T]?: T[Key] extends object | null ? Like<NonNullable<T[Key]>> | null : T[Key]
}

/** One behaviour, shown by a micro-guest under KVM and by a script on the simulator, with one expectation for both. */
export interface Behaviour {
  /** The claim. */
  name: string
  /** The micro-guest, `__test__/guests/<guest>.S`. */
  guest: string
  /** The injector's rule for the page at 0x80100000, or the rules for the pages from there on; none where all are good. */
  arm?: string | readonly string[]
  /** The same guest as the simulator plays it. */
  script: SimulatedStep[][]
  options?: Pick<VmOptions, 'memoryFailure' | 'capabilities' | 'unclaimedAccess' | 'vcpus'>
  /** What the owner does before the guest runs. */
  prepare?: (vm: Vm) => Promise<void>
  /** What the owner does while the guest runs. */
  act?: (vm: Vm, next: (type: VmEvent['type']) => Promise<VmEvent>) => Promise<void>
  exit: Like<VmExit>
  failures: Like<MemoryFailureEvent>[]
  /** What each failure is, where there are many. */
  rows?: string[]
  exceptions: Partial<GuestException>[]
  /** Why the policy decided although a handler was asked. */
  fallbacks?: string[]
  unclaimed?: Like<Extract<VmEvent, { type: 'unclaimed-access' }>>[]
  /** Lines that the guest prints, besides its exceptions. */
  lines?: string[]
}

export const PAGE = 0x8010_0000n
export const ACCESS = 0x8010_0010n
/** EL1h, SError unmasked; EL0t, SError unmasked: what the guests run in. */
export const EL1 = 0x2c5n
export const EL0 = 0x2c0n
export const PC = 0x8000_0040n
/** The deadline of a handler that answers: the longest there is, so that no machine is too slow for it. */
export const NO_HURRY_MS = 600_000

export const ready: SimulatedStep = { step: 'print', text: 'ready\n' }
export const exception: SimulatedStep = {
  step: 'print',
  text: 'exception vector={pc} esr={esr_el1} far={far_el1} elr={elr_el1} spsr={spsr_el1}\n',
}
/** The instruction that is to abort, and what is in the register before it. */
export const access: SimulatedStep = { step: 'print', text: 'access={pc}\n' }
export const marker: SimulatedStep = { step: 'set-register', name: 'x0', value: 0x5eedn }
export const done: SimulatedStep[] = [{ step: 'print', text: 'done\n' }, { step: 'shutdown' }]

export function sea(
  esr: bigint,
  pstate: bigint,
  more: { far?: bigint; gpa?: bigint | null } = {},
): SimulatedStep {
  return { step: 'sea', esr, pstate, pc: PC, far: ACCESS, gpa: PAGE, ...more }
}

/** A guest that consumes one error, reports its exception and finishes. */
export function oneAbort(abort: SimulatedStep): SimulatedStep[][] {
  return [[ready, abort, exception, ...done]]
}

export const shutdown: VmExit = { reason: 'shutdown', vcpu: 0 }
export const stoppedByPolicy: VmExit = { reason: 'policy', vcpu: 0 }

/** Waits until the VM is paused. */
export async function paused(vm: Vm, next: (type: VmEvent['type']) => Promise<VmEvent>): Promise<void> {
  while (vm.state !== 'paused') await next('state-changed')
}
