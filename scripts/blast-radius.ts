import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { LabError } from '../lab/lab.ts'
import { renderDocument } from './blast-radius-document.ts'
import { renderTables } from './blast-radius-page.ts'
import { CLASSES, ROWS, type Row } from './blast-radius-rows.ts'
import { runExperiment } from './blast-radius-run.ts'
import { toJson } from './demo-recording.ts'
import { projectRoot } from './step.ts'

const HELP = `Lets a Linux guest lose a page, and says how far the damage goes: with Seawall, and with KVM alone.

npm run blast-radius -- [options]

  --all        every row, and writes docs/blast-radius.md; default: one of each class
  --row <id>   this row alone; may be given more than once
  --json       one JSON document instead, on the last line of stdout; addresses and registers as "0x…"
  --help       this text

Rows: ${ROWS.map(({ id }) => id).join(', ')}

Runs in the lab, which it sets up first; a row takes one to two minutes. SEAWALL_SEED repeats what was chosen at random.
Exit code: 0 if every row was observed, whatever was seen; 1 if one was not; 2 if the experiment could not be run.
`

const DOCUMENT = join(projectRoot, 'docs', 'blast-radius.md')
const NOT_OBSERVED = 1
const NOT_RUN = 2

async function main(): Promise<number> {
  let json = process.argv.includes('--json')
  try {
    const { values } = parseArgs({
      options: {
        all: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        row: { type: 'string', multiple: true, default: [] },
      },
    })
    json = values.json
    if (values.row.length > 0 && values.all) {
      throw new Error('Expected every row for docs/blast-radius.md with --all but received --row too')
    }
    if (values.help) {
      process.stdout.write(HELP)
      return 0
    }
    const { experiment, qemu } = await runExperiment(chosen(values.all, values.row), seed())
    if (values.all) writeFileSync(DOCUMENT, renderDocument(experiment, qemu))
    const ok = experiment.rows.every((row) => !('error' in row))
    const { kernel, node, rows } = experiment
    process.stdout.write(
      json
        ? `${toJson({ schemaVersion: 1, experiment: 'blast-radius', ok, host: { kernel, qemu, node }, rows })}\n`
        : renderTables(rows),
    )
    return ok ? 0 : NOT_OBSERVED
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const code = error instanceof LabError ? error.code : null
    process.stderr.write(`blast-radius: not run: ${code === null ? '' : `${code}: `}${message}\n`)
    if (json) process.stdout.write(`${toJson({ schemaVersion: 1, ok: false, error: { code, message } })}\n`)
    return NOT_RUN
  }
}

function chosen(all: boolean, ids: readonly string[]): readonly Row[] {
  if (ids.length === 0) return all ? ROWS : CLASSES
  return ids.map((id) => {
    const row = ROWS.find((one) => one.id === id)
    if (row !== undefined) return row
    throw new Error(`Expected ${ROWS.map((one) => one.id).join(', ')} for --row but received ${id}`)
  })
}

function seed(): bigint {
  const text = process.env['SEAWALL_SEED'] ?? `0x${randomBytes(8).toString('hex')}`
  if (/^(\d+|0x[\da-f]+)$/i.test(text) && BigInt(text) < 2n ** 64n) return BigInt(text)
  throw new Error(`Expected a number of 64 bits for SEAWALL_SEED but received ${text}`)
}

process.exitCode = await main()
