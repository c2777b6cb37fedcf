import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { projectRoot } from '../scripts/step.ts'
import type { Measurement } from './measurement.ts'

const PATH = join(projectRoot, 'bench', 'recording.json')

/** What one run of a part measured. */
export interface Recorded {
  /** Where, in words. */
  readonly host: string
  readonly measurements: readonly Measurement[]
}

/** What docs/performance.md is written from: of each part the first run that was recorded, and the last one. */
export interface Recording {
  readonly schemaVersion: 1
  readonly parts: Readonly<Record<string, { readonly before: Recorded; readonly after: Recorded }>>
}

/** What was recorded so far. */
export function readRecording(): Recording {
  return JSON.parse(readFileSync(PATH, 'utf8')) as Recording
}

/** Adds what parts have measured: as `after`, and as `before` too where a part has none. */
export function record(recording: Recording, runs: Readonly<Record<string, Recorded>>): Recording {
  const parts = { ...recording.parts }
  for (const [name, run] of Object.entries(runs))
    parts[name] = { before: parts[name]?.before ?? run, after: run }
  return { schemaVersion: 1, parts }
}

/** Keeps it for the next run. */
export function writeRecording(recording: Recording): void {
  writeFileSync(PATH, `${JSON.stringify(recording, null, 2)}\n`)
}
