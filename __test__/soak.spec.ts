// The short form of `npm run soak`: every trial of it, but for the other versions of Node, with few rounds.
import test from 'ava'
import { runEnds } from '../bench/soak/ends.ts'
import { parts } from '../bench/soak/parts.ts'
import type { Row } from '../bench/soak/trial.ts'
import { runTrials } from '../bench/soak/trials.ts'

/** A row's outcome, and why it is not another one. */
function outcome({ name, outcome, detail }: Row): string {
  return `${outcome}: ${name}${detail === null ? '' : `: ${detail}`}`
}

for (const [part, size, claim] of [
  ['storm', 2000, 'a storm of memory errors is accounted for, and can be ended, whoever hears of it'],
  [
    'lifecycle',
    40,
    'a VM is closed in every state and inside every callback, and collected when nobody holds it',
  ],
  ['copies', 1, "copies of the package in one process keep out of each other's way"],
  ['workers', 2, 'no thread of a VM outlives the worker that created it, however that ends'],
] as const) {
  test(claim, async (t) => {
    const rows: Row[] = []
    const onRow = (row: Row) => void rows.push(row)
    await runTrials({ part }, { size, backend: 'simulated' }, { processes: 'one', onRow })
    t.deepEqual(
      rows.map(outcome),
      Object.keys(parts[part] ?? {}).map((name) => `passed: ${name}`),
    )
  })
}

test('a process ends in the middle of things as it would without VMs', async (t) => {
  const rows: Row[] = []
  await runEnds(1, (row) => void rows.push(row), { callbacks: false })
  t.deepEqual(
    rows.map(outcome),
    rows.map(({ name }) => `passed: ${name}`),
  )
  t.is(rows.length, 11)
})
