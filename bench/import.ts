import { execFile } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { decodeEsr, formatEsr } from 'seawall'
import { projectRoot } from '../scripts/step.ts'
import { type BenchPart, measurement } from './measurement.ts'
import { median, scaled } from './numbers.ts'

const STARTS = 15
const CALLS = 20_000
const ROUNDS = 9
const ESR = 0x9200_0610n

/** The package before any VM. */
export const importTime: BenchPart = {
  name: 'import',
  describe:
    'What the package costs before any VM: its import and its addon in fresh processes, the size of the addon as `npm run build` ' +
    'leaves it, and the two functions that need no VM, per call.',
  findings: `decodeEsr was as slow as its objects: about 25 fields of four values, each a call for the value and one for the name. It
crosses as one text now, which JavaScript cuts once; the abort is a record, as that of an event.`,
  async run(scale) {
    const starts = scaled(STARTS, scale, 1)
    const times = { imported: [] as number[], loaded: [] as number[] }
    for (let start = 0; start < starts; start += 1) {
      const { imported, loaded } = await startOne()
      times.imported.push(imported)
      times.loaded.push(loaded)
    }
    return [
      measurement({ name: "import 'seawall'", value: median(times.imported), unit: 'ms' }),
      measurement({ name: 'load the addon, with the first call', value: median(times.loaded), unit: 'ms' }),
      measurement({ name: 'addon size', value: addonSize() / 1e6, unit: 'MB', target: 1.5 }),
      measurement({ name: 'decodeEsr', value: perCall(() => decodeEsr(ESR), scale), unit: 'µs/call' }),
      measurement({ name: 'formatEsr', value: perCall(() => formatEsr(ESR), scale), unit: 'µs/call' }),
    ]
  },
}

interface Start {
  readonly imported: number
  readonly loaded: number
}

async function startOne(): Promise<Start> {
  const program = `
    const began = performance.now()
    const { decodeEsr } = await import('seawall')
    const imported = performance.now() - began
    decodeEsr(0n)
    console.log(JSON.stringify({ imported, loaded: performance.now() - began - imported }))`
  const args = ['--input-type=module', '--eval', program]
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: projectRoot })
  return JSON.parse(stdout) as Start
}

function addonSize(): number {
  const folder = join(projectRoot, 'native')
  const addon = readdirSync(folder).find((name) => name.endsWith('.node'))
  if (addon === undefined) throw new Error('Expected an addon in native/')
  return statSync(join(folder, addon)).size
}

/** Microseconds per call, the middle of some rounds. */
function perCall(call: () => unknown, scale: number): number {
  const calls = scaled(CALLS, scale, 100)
  const rounds = Array.from({ length: ROUNDS }, () => {
    const began = performance.now()
    for (let count = 0; count < calls; count += 1) call()
    return ((performance.now() - began) * 1000) / calls
  })
  return median(rounds)
}
