import { writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { buildAddon } from '../scripts/addon.ts'
import { projectRoot } from '../scripts/step.ts'
import { chooseParts, OPTIONS, readScale } from './command-line.ts'
import { renderDocument } from './document.ts'
import type { Measurement } from './measurement.ts'
import { renderMeasurements } from './page.ts'
import { parts } from './parts.ts'
import { type Recorded, readRecording, record, writeRecording } from './recording.ts'
import { runChild } from './soak/child.ts'

const HELP = `Measures how fast Seawall is, each part in a process of its own, and compares it with the least that it could cost.

npm run bench -- [options] [part …]

  --json       one JSON document as well, on the last line of stdout
  --record     keep what was measured in bench/recording.json, and write docs/performance.md
  --scale <n>  a tenth of the rounds with 0.1: to see that it works, not to measure; default 1
  --no-build   measure the addon that is there, which may be one without optimisation
  --help       this text

Parts, all by default
${parts.map(({ name }) => `  ${name}`).join('\n')}

Exit code: 0 if every target was met, 1 if one was not, 2 if a part could not be run.
`

/** The limit of a part. */
const LIMIT_MS = 60 * 60_000
const DOCUMENT = join(projectRoot, 'docs', 'performance.md')

/** What came of a part. */
interface PartResult {
  readonly name: string
  /** Why it was not run; `null` where it was. */
  readonly reason: string | null
  /** Where, in words; `null` where it was the machine itself, or nowhere. */
  readonly host: string | null
  readonly measurements: readonly Measurement[]
}

async function runPart(name: string, scale: number): Promise<PartResult> {
  let last = ''
  const { code, signal, stderr } = await runChild(
    process.execPath,
    ['--expose-gc', 'build/bench/run-part.js', name, String(scale)],
    { limitMs: LIMIT_MS, onLine: (line) => (last = line) },
  )
  if (code !== 0)
    return {
      name,
      reason: `the process ended by ${signal ?? code}:\n${stderr}`,
      host: null,
      measurements: [],
    }
  const { reason = null, host = null, measurements = [] } = JSON.parse(last) as Partial<PartResult>
  return { name, reason, host, measurements }
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      ...OPTIONS,
      'no-build': { type: 'boolean', default: false },
      record: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(HELP)
    return 0
  }
  const scale = readScale(values.scale)
  const known = parts.map(({ name }) => name)
  const names = chooseParts(positionals, known, known)
  if (!values['no-build']) await buildAddon('release')
  const results: PartResult[] = []
  for (const name of names) {
    process.stderr.write(`\n${name}\n`)
    const result = await runPart(name, scale)
    results.push(result)
    process.stdout.write(
      result.reason === null
        ? renderMeasurements(name, result.measurements)
        : `\n${name}\n  not run: ${result.reason}\n`,
    )
  }
  const all = results.flatMap(({ measurements }) => measurements)
  const notRun = results.filter(({ reason }) => reason !== null).length
  const missed = all.filter(({ met }) => met === false).length
  const met = all.filter(({ met }) => met === true).length
  process.stdout.write(`\n${met} targets met, ${missed} not met, ${notRun} parts not run\n`)
  const host = `${process.platform} ${process.arch}, ${availableParallelism()} processors, Node ${process.version}`
  if (values.record) {
    const runs = results.filter(({ reason }) => reason === null)
    const recorded = runs.map(({ name, host: elsewhere, measurements }): [string, Recorded] => [
      name,
      { host: elsewhere ?? host, measurements },
    ])
    const recording = record(readRecording(), Object.fromEntries(recorded))
    writeRecording(recording)
    writeFileSync(DOCUMENT, renderDocument(parts, recording))
  }
  if (values.json) {
    const ok = missed === 0 && notRun === 0
    process.stdout.write(
      `${JSON.stringify({ schemaVersion: 1, experiment: 'bench', ok, host, scale, parts: results })}\n`,
    )
  }
  return notRun > 0 ? 2 : missed > 0 ? 1 : 0
}

try {
  process.exitCode = await main()
} catch (error) {
  process.stderr.write(`bench: not run: ${error instanceof Error ? error.message : error}\n`)
  process.exitCode = 2
}
