// Runs trials, each named by an argument after the part, the size and the backend, and prints a row of JSON for each.
import { parts } from './parts.ts'
import type { Row, Scale } from './trial.ts'

const [part = '', size = '', backend = '', ...names] = process.argv.slice(2)
const scale: Scale = { size: Number(size), backend: backend === 'kvm' ? 'kvm' : 'simulated' }
for (const name of names) {
  const trial = parts[part]?.[name]
  let row: Row
  try {
    if (trial === undefined) throw new Error(`Expected a trial but received ${part}: ${name}`)
    row = { part, name, outcome: 'passed', detail: null, measured: await trial(scale) }
  } catch (error) {
    const detail = error instanceof Error ? (error.stack ?? error.message) : String(error)
    row = { part, name, outcome: 'failed', detail, measured: {} }
  }
  process.stdout.write(`${JSON.stringify(row)}\n`)
}
