// Runs the reference and Seawall in turns, and prints a line of JSON for each turn: how long each time took, in ticks.
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { type EchoBinding, runEcho } from '../echo/echo.ts'
import { runGuest } from './guest.ts'
import { MODES, type ModeName } from './modes.ts'
import { MODES_OF_C, runReference } from './reference.ts'
import { countSystemCalls } from './system-calls.ts'

/** What one side did in one turn: how long each time took, or how many system calls there were. */
export interface Turn {
  readonly side: 'c' | 'seawall'
  readonly mode: string
  readonly times: readonly number[]
}

const [times = '', rounds = '', ...names] = process.argv.slice(2)
const count = Number(times)

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
  const run = async () => (side === 'c' ? runReference(mode, count) : await runGuest(mode, count))
  return Math.floor((await countSystemCalls('vcpu-0', run)) / count)
}

print({ side: 'c', mode: 'spin', times: runReference('spin', 10).times })
for (let round = 0; round < Number(rounds); round++) {
  for (const mode of names) {
    const inC = MODES_OF_C.includes(mode) ? runReference(mode, count) : null
    if (inC !== null) print({ side: 'c', mode, times: inC.times })
    if (mode === 'echo') print({ side: 'c', mode, times: await timesOfEcho(count) })
    if (!(mode in MODES)) continue
    const inSeawall = await runGuest(mode as ModeName, count)
    print({ side: 'seawall', mode, times: inSeawall.times })
    if (inC !== null && inC.read !== inSeawall.read)
      throw new Error(`Expected both guests to read the same records in mode ${mode}`)
  }
}
for (const mode of ['same', 'first', 'told'] as const) {
  for (const side of ['c', 'seawall'] as const)
    print({ side, mode: `calls of ${mode}`, times: [await callsOf(side, mode)] })
}
