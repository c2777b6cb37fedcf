import { join } from 'node:path'
import { ADDON_LOADER } from '../../lab/addon.ts'
import { buildNodeAddon, buildProgram, runInLab, setUpLab } from '../../lab/lab.ts'
import { nodeHeaders } from '../echo/echo.ts'
import { labHost } from '../lab-host.ts'
import type { Turn } from './in-lab.ts'

/** For all turns in one boot of the lab, in which every instruction is emulated and counted. */
const LIMIT_MS = 20 * 60_000

/** What is to be run, in one boot. */
export interface Turns {
  /** How often the guest does each thing in one turn. */
  readonly times: number
  readonly rounds: number
  readonly modes: readonly string[]
}

/** Runs the turns in the lab, which is set up first, and counts instructions there unless told otherwise. */
export async function runTurns(
  { times, rounds, modes }: Turns,
  icount = true,
): Promise<{ host: string; turns: Turn[] }> {
  const lab = await setUpLab()
  const program = join('build', 'bench', 'vcpu-path', 'in-lab.js')
  const result = await runInLab(lab, {
    command: ['node', program, String(times), String(rounds), ...modes],
    files: [
      ADDON_LOADER,
      await buildProgram(lab, 'bench/reference/kvm-loop.c'),
      await buildNodeAddon(lab, 'bench/echo/echo.c', nodeHeaders()),
    ],
    icount,
    timeoutMs: LIMIT_MS,
  })
  const { exitCode, stdout, stderr } = result
  if (exitCode !== 0) throw new Error(`Expected exit code 0 in the lab but received ${exitCode}:\n${stderr}`)
  const turns = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Turn)
  return { host: labHost(result, icount), turns }
}
