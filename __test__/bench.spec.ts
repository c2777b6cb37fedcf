// `npm run bench` at a tiny scale: that it measures, not what. The numbers of so few rounds mean nothing, and nobody checks them.
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import test from 'ava'
import { renderDocument } from '../bench/document.ts'
import { nodeHeaders } from '../bench/echo/echo.ts'
import { labHost } from '../bench/lab-host.ts'
import { type Measurement, measurement } from '../bench/measurement.ts'
import { parts } from '../bench/parts.ts'
import { readRecording, record } from '../bench/recording.ts'

/** The parts that need no lab. */
const HERE = ['decide-latency', 'delivery', 'scale', 'idle-vm', 'import']

/** Why a part cannot be run on this machine; `null` where it can. */
function whyNot(name: string): string | null {
  if (name !== 'decide-latency') return null
  try {
    nodeHeaders()
    return null
  } catch (error) {
    return String(error)
  }
}

for (const name of HERE) {
  const reason = whyNot(name)
  const declare = reason === null ? test : test.skip
  const why = reason === null ? '' : `: ${reason}`
  declare(`the part ${name} measures what the recording says it does${why}`, async (t) => {
    const args = ['--expose-gc', 'build/bench/run-part.js', name, '0.02']
    const { stdout } = await promisify(execFile)(process.execPath, args)
    const { measurements, reason } = JSON.parse(stdout) as { measurements?: Measurement[]; reason?: string }
    t.is(reason, undefined)
    const recorded = readRecording().parts[name]?.after.measurements ?? []
    // Fewer VMs are enough to see that it works.
    const names = (rows: readonly Measurement[]) => rows.map(({ name }) => name.replace(/^\d+ VMs/, 'VMs'))
    // A row that is new is recorded with the next run.
    const missing = names(recorded).filter((name) => !names(measurements ?? []).includes(name))
    t.deepEqual(missing, [])
    t.true(recorded.length > 0)
    for (const { value, name } of measurements ?? []) t.true(Number.isFinite(value), name)
  })
}

test('the JSON document is the last line, and says of every part what came of it', async (t) => {
  const args = ['build/bench/main.js', '--no-build', '--json', '--scale', '0.02', 'import', 'idle-vm']
  const { stdout } = await promisify(execFile)(process.execPath, args).catch(
    // A target that is not met is no failure of the program.
    (error: { code: number; stdout: string }) => {
      t.is(error.code, 1)
      return error
    },
  )
  const document = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '')
  t.like(document, { schemaVersion: 1, experiment: 'bench', scale: 0.02 })
  t.deepEqual(
    document.parts.map(({ name, reason }: { name: string; reason: string | null }) => [name, reason]),
    [
      ['import', null],
      ['idle-vm', null],
    ],
  )
})

test('a target is met by the ratio where there is a reference, and by the value where there is none', (t) => {
  const common = { name: 'x', value: 3, unit: 'µs' }
  const reference = { name: 'y', value: 2 }
  t.like(measurement({ ...common, reference, target: 1.5 }), { ratio: 1.5, met: true })
  t.like(measurement({ ...common, reference, target: 1.4 }), { ratio: 1.5, met: false })
  t.like(measurement({ ...common, target: 3 }), { met: true })
  t.like(measurement({ ...common, target: 2 }), { met: false })
  t.is(measurement(common).met, null)
})

test('the first run that is recorded stays as what was before', (t) => {
  const run = (value: number) => ({
    host: 'h',
    measurements: [measurement({ name: 'x', value, unit: 'µs' })],
  })
  const first = record({ schemaVersion: 1, parts: {} }, { part: run(1), other: run(2) })
  const second = record(first, { part: run(3) })
  t.deepEqual(second.parts, {
    part: { before: run(1), after: run(3) },
    other: { before: run(2), after: run(2) },
  })
})

test('a part that runs in the lab names it as its host', (t) => {
  const lab = { kernelVersion: '7.3.4', qemuVersion: '10.0.13' }
  t.is(
    labHost(lab, true),
    'the lab: Linux 7.3.4, QEMU 10.0.13, one processor whose instructions are counted (icount)',
  )
  t.is(labHost(lab, false), 'the lab: Linux 7.3.4, QEMU 10.0.13')
  const recorded = readRecording().parts
  for (const name of ['vcpu-path', 'linux-boot']) {
    t.regex(recorded[name]?.after.host ?? '', /^the lab: Linux \S+, QEMU \S+, .*icount/, name)
  }
})

test('docs/performance.md is what the recording says', (t) => {
  t.is(readFileSync('docs/performance.md', 'utf8'), renderDocument(parts, readRecording()))
})
