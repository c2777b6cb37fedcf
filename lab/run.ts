import { createInterface } from 'node:readline'
import { LabError } from './errors.ts'
import type { Lab } from './lab.ts'
import { otherGuestKernel } from './linux-guest.ts'
import { secondsSince } from './progress.ts'
import type { LabFile } from './project-archive.ts'
import type { RunningMachine } from './qemu.ts'
import { RunFolder } from './run-folder.ts'

/**
 * A processor with FEAT_RAS and with FEAT_EVT. Without the latter KVM traps a guest's every read of CTR_EL0, and a kernel
 * that patches itself while it boots reads it for each of its functions. Pointer authentication and SVE are slow to emulate.
 */
const CPU = 'neoverse-v1,pauth=off,sve=off'

/** One command for the lab, and the machine it wants. */
export interface LabCommand {
  /** Program and arguments; it runs in /seawall, where the project lies. */
  readonly command: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Extra files; a relative path lies in the project. */
  readonly files?: readonly LabFile[]
  /** QEMU's CPU model; default {@link CPU}. */
  readonly cpu?: string
  /** Number of CPUs; default 2. */
  readonly smp?: number
  /** Memory in MiB; default 3072. */
  readonly memoryMiB?: number
  /** Kernel for this run alone, by version (`'6.12'`); default the lab's. */
  readonly kernel?: string
  /** Another kernel for the Linux guest, by version (`'6.12'`), as `build/linux-guest/Image-6.12` in the project. */
  readonly guestKernel?: string
  /** QEMU of Debian's release or of its backports, which knows newer CPU models; default the release's. */
  readonly qemu?: 'release' | 'backports'
  /** Counts instructions instead of time: slow, one CPU, and the same in every run. */
  readonly icount?: boolean
  /** Limit from the start of QEMU to its end, in milliseconds. */
  readonly timeoutMs: number
  /** Receives the command's output while it runs. */
  readonly onOutput?: (chunk: Buffer, stream: 'stdout' | 'stderr') => void
  readonly qemuArgs?: readonly string[]
}

/** What a command in the lab left. */
export interface LabResult {
  /** The command's; 128 and the signal's number when a signal ended it. */
  readonly exitCode: number
  /** Stdout and stderr in the order of arrival. */
  readonly output: string
  readonly stdout: string
  readonly stderr: string
  /** Everything the lab's kernel printed. */
  readonly console: string
  readonly kernelVersion: string
  readonly qemuVersion: string
  /** From the start of QEMU to its end. */
  readonly seconds: number
}

/**
 * Boots the lab, runs one command in it, and returns what the command left, whatever its exit code.
 *
 * @throws LabError `lab-kernel-panic`, `timeout`, `module-failed`, `qemu-failed` or `lab-did-not-finish`, with the path
 * of the console log.
 */
export async function runInLab(lab: Lab, options: LabCommand): Promise<LabResult> {
  checkOptions(options)
  const kernel = options.kernel === undefined ? lab.kernel : await lab.otherKernel(options.kernel)
  const qemu = options.qemu === 'backports' ? await lab.backportsQemu() : lab.qemu
  const qemuVersion = await qemu.version()
  const folder = new RunFolder(lab.cache.runs)
  let finished = false
  try {
    const { command, env = {} } = options
    const files = [...(options.files ?? []), ...(await guestKernel(lab, options))]
    folder.writeInitrd(lab, { command, env, files, module: kernel.module })
    const began = performance.now()
    const machine = qemu.start({
      image: kernel.image,
      initrd: folder.initrd,
      cpu: options.cpu ?? CPU,
      smp: options.smp ?? 2,
      memoryMiB: options.memoryMiB ?? 3072,
      icount: options.icount ?? false,
      qemuArgs: options.qemuArgs ?? [],
      consolePath: folder.consolePath,
    })
    const end = await watch(machine, options)
    const console = folder.readConsole()
    const { exitCode } = end
    const failure = findFailure(end, console, options)
    if (failure !== null || exitCode === null) {
      const [code, reason] = failure ?? [
        'lab-did-not-finish',
        `the machine went down before the command ended; QEMU said: ${end.complaints.trim() || 'nothing'}`,
      ]
      throw new LabError(
        code,
        `Expected \`${command.join(' ')}\` to finish in the lab (Linux ${kernel.release}, QEMU ${qemuVersion}) but ${reason.trimEnd()}\n` +
          `Console log: ${folder.consolePath}`,
        { consolePath: folder.consolePath },
      )
    }
    finished = true
    return {
      exitCode,
      output: end.output,
      stdout: end.stdout,
      stderr: end.stderr,
      console,
      kernelVersion: end.kernelVersion,
      qemuVersion,
      seconds: secondsSince(began),
    }
  } finally {
    folder.finish(!finished)
  }
}

async function guestKernel(lab: Lab, { guestKernel: version }: LabCommand): Promise<LabFile[]> {
  if (version === undefined) return []
  return [{ path: otherGuestKernel(version), content: { from: (await lab.otherKernel(version)).image } }]
}

/** What was seen of a machine until its end. */
interface MachineEnd {
  readonly output: string
  readonly stdout: string
  readonly stderr: string
  readonly kernelVersion: string
  /** Null when the command's end was never reported. */
  readonly exitCode: number | null
  /** What init says it could not do. */
  readonly failed: string | null
  readonly timedOut: boolean
  readonly complaints: string
  readonly qemuStatus: string
}

async function watch(machine: RunningMachine, options: LabCommand): Promise<MachineEnd> {
  const seen = { output: '', stdout: '', stderr: '', kernelVersion: '', complaints: '', timedOut: false }
  let exitCode: number | null = null
  let failed: string | null = null
  for (const stream of ['stdout', 'stderr'] as const) {
    const decoder = new TextDecoder()
    machine[stream].on('data', (chunk: Buffer) => {
      const text = decoder.decode(chunk, { stream: true })
      seen.output += text
      seen[stream] += text
      options.onOutput?.(chunk, stream)
    })
  }
  machine.complaints.on('data', (chunk: Buffer) => {
    seen.complaints += chunk.toString()
  })
  createInterface({ input: machine.reports }).on('line', (line) => {
    const [word, ...rest] = line.split(' ')
    const value = rest.join(' ')
    if (word === 'kernel') seen.kernelVersion = value
    else if (word === 'failed') failed = value
    else if (word === 'exit') exitCode = Number(value)
  })
  const timer = setTimeout(() => {
    seen.timedOut = true
    machine.child.kill('SIGKILL')
  }, options.timeoutMs)
  const qemuStatus = await new Promise<string>((resolve) => {
    machine.child.once('error', (error) => resolve(error.message))
    machine.child.once('close', (code, signal) => resolve(signal ?? `exit code ${code}`))
  }).finally(() => clearTimeout(timer))
  return { ...seen, exitCode, failed, qemuStatus }
}

function findFailure(
  end: MachineEnd,
  console: string,
  { timeoutMs }: LabCommand,
): [LabError['code'], string] | null {
  const panic = /Kernel panic - not syncing: ?(.*)/.exec(console)
  if (panic !== null) return ['lab-kernel-panic', `the lab's kernel panicked: ${panic[1]?.trim()}`]
  if (end.failed !== null) return ['module-failed', `the lab's init ${end.failed}`]
  if (end.timedOut) {
    const last = lastLines(end.output || console)
    return ['timeout', `the limit of ${timeoutMs / 1000} s was over; it had said last:\n${last}\n`]
  }
  if (end.qemuStatus !== 'exit code 0') {
    return ['qemu-failed', `QEMU ended with ${end.qemuStatus}: ${end.complaints.trim() || 'no message'}`]
  }
  return null
}

function lastLines(text: string): string {
  return text.trimEnd().split('\n').slice(-5).join('\n') || '(none)'
}

function checkOptions({ command, timeoutMs, smp, memoryMiB, icount }: LabCommand): void {
  const expected = (what: string, received: unknown): never => {
    throw new LabError('invalid-option', `Expected ${what} for the lab but received ${received}`)
  }
  if (command.length === 0) expected('a command', 'none')
  if (!(timeoutMs > 0 && timeoutMs < 2 ** 31)) expected('a timeoutMs from 1 to 2147483647', timeoutMs)
  if (smp !== undefined && !(Number.isInteger(smp) && smp >= 1 && smp <= 64))
    expected('an smp from 1 to 64', smp)
  if (icount === true && smp !== undefined && smp !== 1) expected('an smp of 1 with icount', smp)
  if (memoryMiB !== undefined && !(Number.isInteger(memoryMiB) && memoryMiB >= 512)) {
    expected('a memoryMiB of at least 512', memoryMiB)
  }
}
