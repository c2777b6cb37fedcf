/**
 * Seawall runs arm64 KVM guests and contains the memory errors they consume.
 *
 * @module
 */
export type { Decision } from './decision.ts'
export { SeawallError, type SeawallErrorCode, type SeawallErrorDetails } from './errors.ts'
export type {
  EventBase,
  Injection,
  MemoryFailure,
  MemoryFailureEvent,
  PageState,
  PoisonedPage,
  VmEvent,
  VmEvents,
  VmExit,
  VmState,
} from './events.ts'
export { type HostSupport, probeHost } from './host.ts'
export { jsonReplacer, jsonReviver } from './json.ts'
export type { Decide, FlatBoot, LinuxBoot, MemoryFailurePolicy, VmOptions } from './options.ts'
export { type LibvirtMemoryFailure, type QmpMemoryFailure, toLibvirt, toQmp } from './peers.ts'
export { type SimulatedBackend, type SimulatedStep, simulated } from './simulated.ts'
export type { VmStats } from './stats.ts'
export { type Abort, decodeEsr, formatEsr, type Syndrome, type SyndromeField } from './syndrome.ts'
export type { InjectOptions, RegisterName, Vcpu } from './vcpu.ts'
export { Vm, type VmMemory } from './vm.ts'
