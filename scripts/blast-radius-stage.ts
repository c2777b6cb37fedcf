// Observes rows on this machine's KVM, and prints one line of JSON: `<seed> <row>…`. scripts/blast-radius.ts starts it in the
// project's folder in the lab.
import { probeHost } from 'seawall'
import { observe } from './blast-radius-observe.ts'
import type { Experiment, RowRecording } from './blast-radius-recording.ts'
import { ROWS } from './blast-radius-rows.ts'
import { toJson } from './demo-recording.ts'

const [seed = '0', ...ids] = process.argv.slice(2)
const rows: RowRecording[] = []
for (const [index, id] of ids.entries()) {
  process.stderr.write(`row ${index + 1} of ${ids.length}: ${id}\n`)
  try {
    const row = ROWS.find((one) => one.id === id)
    if (row === undefined) throw new Error(`Expected a row but received ${id}`)
    const seen = await observe(row, { seed: BigInt(seed) })
    const chosen = seen.seed === null ? '' : `, SEAWALL_SEED=0x${seen.seed.toString(16)}`
    process.stderr.write(`row ${id}: ${Math.round(seen.seconds)} s${chosen}\n`)
    rows.push(seen)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    process.stderr.write(`row ${id} was not observed: ${message}\n`)
    rows.push({ id, error: message })
  }
}
const { kernel } = probeHost()
process.stdout.write(`${toJson({ kernel, node: process.version, rows } satisfies Experiment)}\n`)
