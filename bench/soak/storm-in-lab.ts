import { join } from 'node:path'
import { ADDON_LOADER } from '../../lab/addon.ts'
import { runInLab, setUpLab } from '../../lab/lab.ts'
import { lineReader } from '../../scripts/step.ts'
import { parts } from './parts.ts'
import type { Row } from './trial.ts'

/** For all trials of a part in one boot of the lab, whose processor is emulated. */
const LIMIT_MS = 60 * 60_000

/** Runs the storms, and a guest that resets itself a tenth as often, on KVM, in the lab, which is set up first. */
export async function runStormsInLab(size: number, onRow: (row: Row) => void): Promise<void> {
  await runPart('storm', size, onRow)
  await runPart('resets', 2 * Math.ceil(size / 20), onRow)
}

async function runPart(part: string, size: number, onRow: (row: Row) => void): Promise<void> {
  const names = Object.keys(parts[part] ?? {})
  const lines = lineReader((line) => {
    const row = JSON.parse(line) as Row
    onRow({ ...row, part: `${part} on KVM` })
  })
  const program = join('build', 'bench', 'soak', 'run-trials.js')
  const { exitCode, stderr } = await runInLab(await setUpLab(), {
    command: ['node', '--expose-gc', program, part, String(size), 'kvm', ...names],
    files: [ADDON_LOADER],
    timeoutMs: LIMIT_MS,
    onOutput: (chunk, stream) => {
      if (stream === 'stdout') lines.push(chunk)
    },
  })
  lines.end()
  if (exitCode !== 0) throw new Error(`Expected exit code 0 in the lab but received ${exitCode}:\n${stderr}`)
}
