import { join } from 'node:path'
import { ADDON_LOADER } from '../../lab/addon.ts'
import { runInLab, setUpLab } from '../../lab/lab.ts'
import { lineReader } from '../../scripts/step.ts'
import { parts } from './parts.ts'
import type { Row } from './trial.ts'

/** For all storms in one boot of the lab, whose processor is emulated. */
const LIMIT_MS = 60 * 60_000

/** Runs the storms on KVM, in the lab, which is set up first. */
export async function runStormsInLab(size: number, onRow: (row: Row) => void): Promise<void> {
  const names = Object.keys(parts['storm'] ?? {})
  const lines = lineReader((line) => {
    const row = JSON.parse(line) as Row
    onRow({ ...row, part: 'storm on KVM' })
  })
  const program = join('build', 'bench', 'soak', 'run-trials.js')
  const { exitCode, stderr } = await runInLab(await setUpLab(), {
    command: ['node', '--expose-gc', program, 'storm', String(size), 'kvm', ...names],
    files: [ADDON_LOADER],
    timeoutMs: LIMIT_MS,
    onOutput: (chunk, stream) => {
      if (stream === 'stdout') lines.push(chunk)
    },
  })
  lines.end()
  if (exitCode !== 0) throw new Error(`Expected exit code 0 in the lab but received ${exitCode}:\n${stderr}`)
}
