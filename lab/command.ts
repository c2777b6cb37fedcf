import { text } from 'node:stream/consumers'
import { startFamily } from './children.ts'
import { LabError } from './errors.ts'

/** Where and how a command runs. */
export interface CommandOptions {
  readonly cwd?: string
  readonly env?: NodeJS.ProcessEnv
  /** Sends the command's own output to our stderr while it runs. */
  readonly loud?: boolean
}

/** What a finished command left. */
export interface CommandResult {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a command to its end and returns what it left, whatever its exit code. */
export async function attempt(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const child = startFamily(command, args, {
    stdio: ['ignore', options.loud ? 2 : 'pipe', options.loud ? 2 : 'pipe'],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.env === undefined ? {} : { env: options.env }),
  })
  const status = new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve(signal === null ? (code ?? 1) : 128))
  })
  const [stdout, stderr, code] = await Promise.all([
    child.stdout === null ? '' : text(child.stdout),
    child.stderr === null ? '' : text(child.stderr),
    status,
  ])
  return { status: code, stdout, stderr }
}

/** Runs a command and returns its stdout; anything but exit code 0 is a LabError with the end of its output. */
export async function run(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const line = [command, ...args].join(' ')
  let result: CommandResult
  try {
    result = await attempt(command, args, options)
  } catch (cause) {
    throw new LabError('command-failed', `Expected to start \`${line}\` but received: ${cause}`, { cause })
  }
  // The shell's answer when there is no such program.
  if (result.status === 127 && result.stderr.includes(`${command}: not found`)) {
    throw new LabError(
      'missing-tool',
      `Expected the program ${command} for the lab but this machine has none`,
    )
  }
  if (result.status !== 0) {
    const tail = `${result.stdout}\n${result.stderr}`.trim().split('\n').slice(-40).join('\n')
    throw new LabError(
      'command-failed',
      `Expected exit code 0 from \`${line}\` but received ${result.status}${tail === '' ? '' : `:\n${tail}`}`,
    )
  }
  return result.stdout
}
