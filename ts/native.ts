import { createRequire } from 'node:module'
import { SeawallError, type SeawallErrorCode } from './errors.ts'
import type { Injection, PoisonedPage, VmEvent, VmExit, VmState } from './events.ts'
import type { HostSupport } from './host.ts'
import { platformPackage } from './platform.ts'
import type { VmStats } from './stats.ts'
import { version } from './version.ts'

/** A failed operation of the addon. */
export interface NativeError {
  errorCode: string
  message: string
  syscall: string | null
  errno: string | null
}

/** How a VM ended, as the addon says it. */
export interface NativeExit extends Omit<VmExit, 'error'> {
  error: NativeError | null
}

/** An injection, as the addon says it. */
export interface NativeInjection extends Omit<Injection, 'errno'> {
  errno: string | null
}

/** An event, as the addon says it; a memory failure is a record. */
export type NativeEvent =
  | (Omit<Extract<VmEvent, { type: 'exit' }>, 'exit'> & { exit: NativeExit })
  | (Omit<Extract<VmEvent, { type: 'decision-fallback' }>, 'error'> & { error: string | null })
  | Exclude<VmEvent, { type: 'memory-failure' | 'exit' | 'decision-fallback' }>

/** Events in order: the memory failures as records, each with the number of others before it. */
export interface NativeBatch {
  failures: number
  others: NativeEvent[]
  texts: string[]
}

/** Who hears of all VMs of an environment. */
export interface NativeListener {
  takeReady(): number[]
}

/** A step of a simulated vCPU, with its defaults completed. */
export type NativeStep =
  | {
      step: 'sea'
      esr: bigint
      far: bigint
      gpa: bigint | null
      pc: bigint
      pstate: bigint
      ignoresInjection: boolean
    }
  | { step: 'kernel-abort'; esr: bigint; far: bigint; pc: bigint; pstate: bigint }
  | { step: 'print'; text: string }
  | { step: 'mmio-read'; gpa: bigint; size: number }
  | { step: 'mmio-write'; gpa: bigint; data: Uint8Array }
  | { step: 'nisv'; gpa: bigint; iss: bigint }
  | { step: 'set-register'; name: string; value: bigint }
  | { step: 'shutdown' | 'reset' | 'crash' | 'spin' }
  | { step: 'run'; us: number }
  | { step: 'exit'; reason: number }
  | { step: 'fail'; errno: number }
  | { step: 'refuse-injection'; errno: number }
  | { step: 'refuse-register'; name: string; errno: number }

/** A decision about a failure that waits, by the number of its event. */
export interface NativeDecision {
  failure: number
  /** As `ts/decision.ts` makes it. */
  decision: number
}

/** An abort asked for by hand; what is `null` is taken from the vCPU's last access. */
export interface NativeAbortRequest {
  kind: 'data' | 'instruction'
  restored: boolean
  faultStatus: number | null
  far: bigint | null
  farInvalid: boolean
  set: 'uer' | 'uc' | 'ueo' | null
  write: boolean | null
}

/** The options of a VM, checked and completed. */
export interface NativeVmOptions {
  id: string
  name: string | null
  memory: bigint
  hugePage: '2M' | '1G' | null
  vcpus: number
  script: NativeStep[][] | null
  boot:
    | { type: 'flat'; image: string | Uint8Array; loadAddress: bigint | null; entry: bigint | null }
    | { type: 'linux'; kernel: string; initrd: string | null; cmdline: string | null; acpi: boolean }
  onReset: 'exit' | 'restart'
  armSeaToUser: boolean
  armNisvToUser: boolean
  recoverable: 'inject' | 'pause' | 'stop'
  uncontainable: 'pause' | 'stop'
  quarantine: boolean
  threshold: { distinctPages: number; action: 'pause' | 'stop' | 'report' } | null
  sameFaultLimit: number
  notifyGuest: 'ghes' | 'agent' | 'none'
  deferMs: number
  unclaimedAccess: 'abort' | 'stop' | 'read-zero'
  decisionTimeoutMs: number
  redact: boolean
}

/** What a VM has counted, as the addon says it. */
export interface NativeStats extends Omit<VmStats, 'exits'> {
  exits: { name: string; count: bigint }[]
}

/** The addon's virtual machine. */
export interface NativeVm {
  readonly state: VmState
  start(): Promise<null | NativeError>
  pause(): Promise<null | NativeError>
  resume(decisions: NativeDecision[]): Promise<null | NativeError>
  stop(): Promise<NativeExit | NativeError>
  wait(): Promise<NativeExit | NativeError>
  close(): Promise<{ unretiredHostPages: number } | NativeError>
  getRegister(vcpu: number, name: string): Promise<bigint | NativeError>
  setRegister(vcpu: number, name: string, value: bigint): Promise<null | NativeError>
  injectAbort(vcpu: number, request: NativeAbortRequest): Promise<NativeInjection | NativeError>
  injectSerror(vcpu: number, iss: number | null): Promise<NativeInjection | NativeError>
  reportPoison(gpa: bigint, length: bigint): Promise<null | NativeError>
  replacePage(gpa: bigint): Promise<null | NativeError>
  pendingFailures(): Buffer
  respond(failure: number, decision: number): 'accepted' | 'late' | 'unknown'
  respondFailure(
    failure: number,
    reason: 'threw' | 'rejected' | 'invalid',
    error: string,
  ): 'accepted' | 'late' | 'unknown'
  takeEvents(max: number, records: Buffer): number | NativeBatch
  takeConsole(max: number): Buffer
  releaseConsole(): void
  readMemory(gpa: bigint, length: number): Buffer | NativeError
  writeMemory(gpa: bigint, data: Uint8Array): NativeError | null
  poisonedPages(): PoisonedPage[]
  stats(): NativeStats
  consoleInput(input: Uint8Array): number | NativeError
  consoleInputRoom(): number
}

/** The addon. */
export interface NativeBinding {
  version(): string
  probeHost(): HostSupport
  decodeEsr(esr: bigint, record: Buffer): string
  formatEsr(esr: bigint): string
  createVm(
    options: NativeVmOptions,
    listener: NativeListener,
    machine: number,
    asks: boolean,
  ): Promise<NativeVm | NativeError>
  closeAll(): void
  recordWords(): string[]
  NativeListener: new (record: Buffer, wake: (machine: number) => number) => NativeListener
}

let binding: NativeBinding | undefined

/** Loads the addon, once. Not at import: the types and the errors are of use on every platform. */
export function loadNative(): NativeBinding {
  if (binding !== undefined) return binding
  const loaded = requireNative()
  // process.exit() runs no cleanup hook of the addon, and a vCPU must not outlive what it calls.
  process.once('exit', () => loaded.closeAll())
  binding = loaded
  return loaded
}

/** Loads the addon and checks that it is the one of this version: an older one may take what it is given for something else. */
function requireNative(): NativeBinding {
  const path = '../native/index.cjs'
  let loaded: NativeBinding
  try {
    loaded = createRequire(import.meta.url)(path)
  } catch (cause) {
    const refusal = refusalToLoad(cause)
    throw nativeMissing(
      refusal === undefined
        ? `there is no native addon for ${process.platform} on ${process.arch}`
        : `the native addon does not load: ${refusal}`,
      cause,
    )
  }
  // One that is too old to be asked has none.
  const found = loaded.version?.() ?? 'another version'
  if (found === version()) return loaded
  throw nativeMissing(`Expected the native addon of ${version()} but received that of ${found}`)
}

/** What the dynamic linker said of an addon that it did not take; the loader hands on what it tried, as a chain without codes. */
function refusalToLoad(error: unknown): string | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if (!cause.message.startsWith('Cannot find ')) return cause.message
  return undefined
}

function nativeMissing(problem: string, cause?: unknown): SeawallError {
  const name = platformPackage()
  const install =
    name === null
      ? 'no package is made for this platform; in a clone, `npm run build` may be able to make it'
      : `install ${name}@${version()} (npm does it by itself unless optional dependencies are left out), or in a clone ` +
        'run `npm run build`'
  return new SeawallError('ERR_NATIVE_MISSING', `${problem}: ${install}`, { cause })
}

function isNativeError(value: unknown): value is NativeError {
  return typeof value === 'object' && value !== null && 'errorCode' in value
}

/** Makes the error of a failed operation. */
export function toError(error: NativeError): SeawallError {
  return new SeawallError(error.errorCode as SeawallErrorCode, error.message, {
    ...(error.syscall === null ? {} : { syscall: error.syscall }),
    ...(error.errno === null ? {} : { errno: error.errno }),
  })
}

/** Returns an operation's value, or throws its error. */
export function unwrap<T>(result: T | NativeError): T {
  if (isNativeError(result)) throw toError(result)
  return result
}
