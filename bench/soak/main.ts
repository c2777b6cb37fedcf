import { parseArgs } from 'node:util'
import { findNode, NODE_LINES } from '../../lab/node-versions.ts'
import { buildAddon } from '../../scripts/addon.ts'
import { chooseParts, OPTIONS, readScale } from '../command-line.ts'
import { runEnds } from './ends.ts'
import { renderRows } from './page.ts'
import { runStormsInLab } from './storm-in-lab.ts'
import type { Row } from './trial.ts'
import { runTrials } from './trials.ts'

const HELP = `Tries to break Seawall: storms of memory errors, and every way to end.

npm run soak -- [options] [part …]

  --json       one JSON document as well, on the last line of stdout
  --scale <n>  a hundredth of it with 0.01, ten times as much with 10; default 1: 100,000 aborts, 1,000 VMs
  --help       this text

Parts, all but the last by default
  storm      4 vCPUs that do nothing but touch poison, and whoever hears of it; on the simulated backend
  lifecycle  1,000 VMs; close() in every state and inside every callback; garbage collection
  copies     copies of the package in one process
  ends       processes that end in the middle of things
  workers    workers that do, on Node ${NODE_LINES.join(', ')}
  kvm        the storms on KVM, in the lab, with a tenth of the aborts; 1,000 resets of a guest

Exit code: 0 if everything held, 1 if something did not, 2 if a part could not be run.
`

const STORM_ABORTS = 100_000
const KVM_ABORTS = 10_000
const ROUNDS = { lifecycle: 1000, copies: 20, ends: 10, workers: 20 } as const

type Part = (scale: number, onRow: (row: Row) => void) => Promise<void>

const each = (part: string, size: number): Part => {
  return async (scale, onRow) => {
    const scaled = { size: Math.max(1, Math.round(size * scale)), backend: 'simulated' } as const
    await runTrials({ part }, scaled, { processes: 'each', onRow })
  }
}

const PARTS: Readonly<Record<string, Part>> = {
  storm: each('storm', STORM_ABORTS),
  lifecycle: each('lifecycle', ROUNDS.lifecycle),
  copies: each('copies', ROUNDS.copies),
  ends: async (scale, onRow) => await runEnds(Math.max(1, Math.round(ROUNDS.ends * scale)), onRow),
  workers: async (scale, onRow) => {
    for (const line of NODE_LINES) await workersOn(line, scale, onRow)
  },
  kvm: async (scale, onRow) => await runStormsInLab(Math.round(KVM_ABORTS * scale), onRow),
}

async function workersOn(line: number, scale: number, onRow: (row: Row) => void): Promise<void> {
  const suffix = `, Node ${line}`
  let node: string
  try {
    node = await findNode(line)
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error)
    onRow({ part: 'workers', name: `workers${suffix}`, outcome: 'not run', detail, measured: {} })
    return
  }
  const size = Math.max(1, Math.round(ROUNDS.workers * scale))
  const options = { processes: 'each', onRow } as const
  await runTrials({ part: 'workers', node, suffix }, { size, backend: 'simulated' }, options)
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: OPTIONS,
  })
  if (values.help) {
    process.stdout.write(HELP)
    return 0
  }
  const scale = readScale(values.scale)
  const known = Object.keys(PARTS)
  const chosen = chooseParts(
    positionals,
    known,
    known.filter((name) => name !== 'kvm'),
  )
  await buildAddon('release')
  const rows: Row[] = []
  for (const name of chosen) {
    process.stderr.write(`\n${name}\n`)
    const onRow = (row: Row) => {
      rows.push(row)
      process.stderr.write(`${row.outcome}: ${row.name}\n`)
    }
    try {
      await PARTS[name]?.(scale, onRow)
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error)
      onRow({ part: name, name, outcome: 'not run', detail, measured: {} })
    }
  }
  process.stdout.write(renderRows(rows))
  const ok = rows.every(({ outcome }) => outcome === 'passed')
  if (values.json) {
    const host = { platform: process.platform, arch: process.arch, node: process.version }
    process.stdout.write(`${JSON.stringify({ schemaVersion: 1, experiment: 'soak', ok, host, rows })}\n`)
  }
  if (rows.some(({ outcome }) => outcome === 'failed')) return 1
  return ok ? 0 : 2
}

try {
  process.exitCode = await main()
} catch (error) {
  process.stderr.write(`soak: not run: ${error instanceof Error ? error.message : error}\n`)
  process.exitCode = 2
}
