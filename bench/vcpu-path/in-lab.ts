// Runs the reference and Seawall in turns, and prints a line of JSON for each turn: how long each time took, in ticks.
import { execFileSync } from 'node:child_process'
import { timesOfSeawall } from './guest.ts'
import { MODES, type ModeName } from './modes.ts'

/** What one side did in one turn. */
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

function print(turn: Turn): void {
  process.stdout.write(`${JSON.stringify(turn)}\n`)
}

print({ side: 'c', mode: 'spin', times: timesOfC('spin', '10') })
for (let round = 0; round < Number(rounds); round++) {
  for (const name of names) {
    print({ side: 'c', mode: name, times: timesOfC(name, times) })
    if (name in MODES)
      print({ side: 'seawall', mode: name, times: await timesOfSeawall(name as ModeName, Number(times)) })
  }
}
