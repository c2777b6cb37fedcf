import { join } from 'node:path'
import { ADDON_LOADER } from '../lab/addon.ts'
import { runInLab, setUpLab } from '../lab/lab.ts'
import type { Experiment } from './blast-radius-recording.ts'
import type { Row } from './blast-radius-rows.ts'
import { fromJson } from './demo-recording.ts'

const STAGE = join('build', 'scripts', 'blast-radius-stage.js')
/** For a row, whose own limit ends it earlier, and for the lab's boot. */
const LIMIT_MS = { row: 820_000, lab: 120_000 }

/**
 * Observes rows in the lab, which is set up first. Says on stderr which row it is at. By `seed` the rows choose what they
 * choose at random.
 */
export async function runExperiment(
  rows: readonly Row[],
  seed = 0n,
): Promise<{ experiment: Experiment; qemu: string }> {
  const lab = await setUpLab()
  const guestKernel = rows.map(({ kernel }) => kernel).find((version) => version !== null)
  const { exitCode, stdout, stderr, qemuVersion } = await runInLab(lab, {
    command: ['node', STAGE, String(seed), ...rows.map(({ id }) => id)],
    files: [ADDON_LOADER],
    ...(guestKernel === undefined ? {} : { guestKernel }),
    timeoutMs: LIMIT_MS.lab + rows.length * LIMIT_MS.row,
    onOutput: (chunk, stream) => {
      if (stream === 'stderr') process.stderr.write(chunk)
    },
  })
  if (exitCode !== 0) {
    throw new Error(
      `Expected exit code 0 from ${STAGE} in the lab but received ${exitCode}:\n${stderr.trim()}`,
    )
  }
  return { experiment: fromJson(stdout.trimEnd().split('\n').at(-1) ?? '') as Experiment, qemu: qemuVersion }
}
