// Runs the reference and Seawall in turns, and prints a line of JSON for each turn: how long each time took, in ticks.
import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { type EchoBinding, runEcho } from '../echo/echo.ts'
import { timesOfSeawall } from './guest.ts'
import { MODES, MODES_OF_C, type ModeName } from './modes.ts'
import { countSystemCalls } from './system-calls.ts'

/** What one side did in one turn: how long each time took, or how many system calls there were. */
export interface Turn {
  readonly side: 'c' | 'seawall'
  readonly mode: string
  readonly times: readonly number[]
}

const IMAGE = 'build/guests/timed-accesses.bin'
const [times = '', rounds = '', ...names] = process.argv.slice(2)

function timesOfC(mode: string, count: string): number[] {
  const output = execFileSync('programs/kvm-loop', [mode, count, IMAGE], { encoding: 'utf8' })
  return output.trim().split('\n').map(Number)
}

/** In nanoseconds, not in ticks. */
async function timesOfEcho(count: number): Promise<number[]> {
  const binding = createRequire(import.meta.url)(join(process.cwd(), 'programs', 'echo.node')) as EchoBinding
  return await runEcho(binding, { threads: 1, rounds: count, pauseNs: 0 })
}

function print(turn: Turn): void {
  process.stdout.write(`${JSON.stringify(turn)}\n`)
}

/** How many system calls there are in a turn, for each time; those of a thread's beginning and end do not make one. */
async function callsOf(side: Turn['side'], mode: ModeName): Promise<number> {
  const count = Number(times)
  const run = async () => (side === 'c' ? timesOfC(mode, times) : await timesOfSeawall(mode, count))
  return Math.floor((await countSystemCalls('vcpu-0', run)) / count)
}

print({ side: 'c', mode: 'spin', times: timesOfC('spin', '10') })
for (let round = 0; round < Number(rounds); round++) {
  for (const mode of names) {
    if (MODES_OF_C.includes(mode)) print({ side: 'c', mode, times: timesOfC(mode, times) })
    if (mode === 'echo') print({ side: 'c', mode, times: await timesOfEcho(Number(times)) })
    if (mode in MODES)
      print({ side: 'seawall', mode, times: await timesOfSeawall(mode as ModeName, Number(times)) })
  }
}
for (const mode of ['same', 'first'] as const) {
  for (const side of ['c', 'seawall'] as const)
    print({ side, mode: `calls of ${mode}`, times: [await callsOf(side, mode)] })
}
