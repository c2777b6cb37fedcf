/**
 * The codes of {@link SeawallError}, stable across releases. `docs/errors.md`, which is in the package, has a section on each: what
 * it means, what may have caused it, and what to do.
 *
 * | code | meaning |
 * | --- | --- |
 * | `ERR_UNSUPPORTED_HOST` | this host cannot run the VM: no arm64 KVM, or a kernel without what was asked for |
 * | `ERR_KVM_PERMISSION` | `/dev/kvm` may not be opened |
 * | `ERR_KVM_IOCTL` | the kernel refused an operation, or left the guest for a reason nobody can handle |
 * | `ERR_INVALID_OPTION` | an argument is not what it should be |
 * | `ERR_INVALID_IMAGE` | the guest's image cannot be read, does not fit, or has no such entry point |
 * | `ERR_INVALID_STATE` | the operation makes no sense in the VM's state |
 * | `ERR_VM_CLOSED` | the VM was closed |
 * | `ERR_VCPU_RUNNING` | the vCPU runs, so that nobody else can touch it |
 * | `ERR_GUEST_MEMORY` | the range is no guest RAM, or the host lost the page while it was copied |
 * | `ERR_POISONED_PAGE` | the range holds a page that is known to be lost |
 * | `ERR_QUARANTINE` | a lost page could not be taken out of reach, or not be replaced |
 * | `ERR_SIGNAL_HANDLER` | somebody replaced Seawall's handler of SIGBUS, as `process.on('SIGBUS')` does |
 * | `ERR_INVALID_INJECTION` | an abort was asked for where none can be taken |
 * | `ERR_INJECTION_FAILED` | no way of injecting the abort worked |
 * | `ERR_OUT_OF_RESOURCES` | no more files, memory or threads |
 * | `ERR_NATIVE_MISSING` | there is no native addon for this platform |
 * | `ERR_INTERNAL` | a defect of Seawall |
 */
export type SeawallErrorCode =
  | 'ERR_UNSUPPORTED_HOST'
  | 'ERR_KVM_PERMISSION'
  | 'ERR_KVM_IOCTL'
  | 'ERR_INVALID_OPTION'
  | 'ERR_INVALID_IMAGE'
  | 'ERR_INVALID_STATE'
  | 'ERR_VM_CLOSED'
  | 'ERR_VCPU_RUNNING'
  | 'ERR_GUEST_MEMORY'
  | 'ERR_POISONED_PAGE'
  | 'ERR_QUARANTINE'
  | 'ERR_SIGNAL_HANDLER'
  | 'ERR_INVALID_INJECTION'
  | 'ERR_INJECTION_FAILED'
  | 'ERR_OUT_OF_RESOURCES'
  | 'ERR_NATIVE_MISSING'
  | 'ERR_INTERNAL'

/** What more is known of a {@link SeawallError}. */
export interface SeawallErrorDetails {
  /** The system call or KVM ioctl that failed, such as `KVM_CREATE_VM`. */
  syscall?: string
  /** What the kernel answered, such as `EINVAL`. */
  errno?: string
  /** The error that led to this one. */
  cause?: unknown
}

/** Every error that Seawall throws or rejects with. Programs test `code`, by which docs/errors.md is ordered; the message is for people. */
export class SeawallError extends Error {
  /** The stable code. */
  readonly code: SeawallErrorCode
  /** The system call or KVM ioctl that failed, where one did. */
  declare readonly syscall?: string
  /** What the kernel answered, where it did. */
  declare readonly errno?: string

  /** Makes an error of a code and a message. */
  constructor(code: SeawallErrorCode, message: string, details: SeawallErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    if (details.syscall !== undefined) this.syscall = details.syscall
    if (details.errno !== undefined) this.errno = details.errno
  }

  /** `SeawallError`. */
  override get name(): string {
    return 'SeawallError'
  }
}

/** Makes the error of an argument that is not what it should be, in the one form all of them have. */
export function invalidOption(expected: string, what: string, received: unknown): SeawallError {
  return new SeawallError(
    'ERR_INVALID_OPTION',
    `Expected ${expected} for ${what} but received ${show(received)}`,
  )
}

function show(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value)
    case 'bigint':
      return `${value}n`
    case 'number':
      return Object.is(value, -0) ? '-0' : String(value)
    case 'boolean':
    case 'undefined':
      return String(value)
    case 'function':
      return 'a function'
    case 'symbol':
      return value.toString()
    case 'object':
      return value === null ? 'null' : Array.isArray(value) ? 'an array' : 'an object'
  }
}
