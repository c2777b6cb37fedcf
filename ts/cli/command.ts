import type { VmOptions } from '../options.ts'
import type { Option } from './options.ts'

/** What tests give a command that the command line cannot. */
export interface Surroundings {
  /** What runs the vCPUs. */
  readonly backend?: NonNullable<VmOptions['backend']>
}

/** One of the tool's commands, and what the help says of it. */
export interface Command {
  /** How it is called, in one line. */
  readonly usage: string
  /** What it does, in a few words. */
  readonly summary: string
  /** What one needs to know to use it. */
  readonly description: string
  readonly options: Record<string, Option>
  /** What its exit codes mean, where they are its own. */
  readonly exitCodes?: readonly (readonly [code: string, meaning: string])[]
  readonly examples: readonly (readonly [line: string, what: string])[]
  /** Runs it, and answers the exit code. */
  run(args: readonly string[], surroundings: Surroundings): number | Promise<number>
}
