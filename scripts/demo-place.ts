import { execFile } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { probeHost } from 'seawall'
import { ADDON_LOADER } from '../lab/addon.ts'
import { assembleGuests, runInLab, setUpLab, ThisMachine } from '../lab/lab.ts'
import { say } from '../lab/progress.ts'
import { buildAddon } from './addon.ts'
import { MICRO_ACTS } from './demo-acts.ts'
import { fromJson, type Recording } from './demo-recording.ts'
import { projectRoot } from './step.ts'

/** Where the acts were played, and what was seen there. */
export interface Performance {
  readonly place: 'native' | 'lab'
  /** QEMU's version, in the lab. */
  readonly qemu: string | null
  readonly recording: Recording
}

const STAGE = join('build', 'scripts', 'demo-stage.js')
/** For the lab's boot, Node's start and four runs of a guest, on a busy machine too. */
const LIMIT_MS = 300_000

/** Plays the acts on this machine if it can, else in the lab, which is set up first. */
export async function perform(): Promise<Performance> {
  return (await canPlayHere()) ? await performHere() : await performInLab()
}

/** Whether KVM and the injector are here: real hardware alone has no memory error to show when asked. */
async function canPlayHere(): Promise<boolean> {
  try {
    for (const device of ['/dev/kvm', '/dev/sea-inject']) accessSync(device, constants.R_OK | constants.W_OK)
  } catch {
    return false
  }
  try {
    if (!existsSync(join(projectRoot, 'native', 'index.cjs'))) await buildAddon('release')
    const { status, reasons } = probeHost()
    if (status !== 'active') say(`not playing on this machine: ${reasons.join('; ')}`)
    return status === 'active'
  } catch (error) {
    say(`not playing on this machine: ${error instanceof Error ? error.message : error}`)
    return false
  }
}

async function performHere(): Promise<Performance> {
  say('this machine has an active KVM and the injector: playing here')
  const guests = join(projectRoot, 'build', 'guests')
  if (!MICRO_ACTS.every(({ guest }) => existsSync(join(guests, `${guest}.bin`)))) {
    await assembleGuests(new ThisMachine(), join(projectRoot, '__test__', 'guests'), guests)
  }
  const options = { cwd: projectRoot, timeout: LIMIT_MS, maxBuffer: 2 ** 26 }
  const { stdout } = await promisify(execFile)(process.execPath, [STAGE], options)
  return { place: 'native', qemu: null, recording: readRecording(stdout) }
}

async function performInLab(): Promise<Performance> {
  const lab = await setUpLab()
  say('booting the lab and playing there')
  const { exitCode, stdout, stderr, qemuVersion, seconds } = await runInLab(lab, {
    command: ['node', STAGE],
    files: [ADDON_LOADER],
    timeoutMs: LIMIT_MS,
  })
  say(`the lab was up for ${seconds.toFixed(1)} s`)
  if (exitCode !== 0) {
    throw new Error(
      `Expected exit code 0 from ${STAGE} in the lab but received ${exitCode}:\n${stderr.trim()}`,
    )
  }
  return { place: 'lab', qemu: qemuVersion, recording: readRecording(stdout) }
}

function readRecording(stdout: string): Recording {
  return fromJson(stdout.trimEnd().split('\n').at(-1) ?? '') as Recording
}
