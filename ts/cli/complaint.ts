import { SeawallError } from '../errors.ts'
import { EXIT_CODE } from './exit-code.ts'

/** What may help where an error's message does not say it. */
const HINTS: Partial<Record<SeawallError['code'], string>> = {
  ERR_UNSUPPORTED_HOST:
    "'seawall doctor' says what this host can do, and what to change. 'seawall run --simulated' runs anywhere.",
  ERR_KVM_PERMISSION: "'seawall doctor' says what to change.",
  ERR_NATIVE_MISSING: "'seawall doctor' says what works without it.",
  ERR_OUT_OF_RESOURCES: "'seawall doctor' says what the host has set aside.",
  ERR_INTERNAL: 'This is a defect of Seawall. Please report it.',
}

/** An error as the tool says it. */
export interface Complaint {
  /** The code where it helps to look it up, and the message. */
  readonly message: string
  /** What to try next. */
  readonly hint: string | null
  readonly exitCode: number
}

/** Puts an error into words. */
export function toComplaint(error: unknown, command: string): Complaint {
  if (!(error instanceof SeawallError)) {
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error)
    return { message: `ERR_INTERNAL: ${stack}`, hint: HINTS.ERR_INTERNAL ?? null, exitCode: EXIT_CODE.error }
  }
  const { code, message } = error
  if (code === 'ERR_INVALID_OPTION') {
    return { message, hint: `Try '${command} --help'.`, exitCode: EXIT_CODE.usage }
  }
  return { message: `${code}: ${message}`, hint: HINTS[code] ?? null, exitCode: EXIT_CODE.error }
}

/** Says what went wrong, and answers the exit code. */
export function complain(error: unknown, command: string): number {
  const { message, hint, exitCode } = toComplaint(error, command)
  process.stderr.write(`seawall: ${message}\n${hint === null ? '' : `${hint}\n`}`)
  return exitCode
}
