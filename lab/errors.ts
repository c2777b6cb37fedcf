/** What went wrong in the lab. Callers may switch on it; the message is for people. */
export type LabErrorCode =
  | 'missing-tool'
  | 'command-failed'
  | 'download-failed'
  | 'kernel-too-old'
  | 'kernel-not-found'
  | 'lab-kernel-panic'
  | 'lab-did-not-finish'
  | 'module-failed'
  | 'qemu-failed'
  | 'timeout'
  | 'invalid-option'

/** The one error class of the lab. */
export class LabError extends Error {
  readonly code: LabErrorCode
  /** File that holds the lab kernel's console, when a run failed. */
  readonly consolePath: string | null

  constructor(code: LabErrorCode, message: string, options?: { cause?: unknown; consolePath?: string }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'LabError'
    this.code = code
    this.consolePath = options?.consolePath ?? null
  }
}
