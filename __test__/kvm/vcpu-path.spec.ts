// The short form of the benchmark of the vCPU's path (bench/vcpu-path.ts): both sides run, and what they take can be compared.
import { existsSync } from 'node:fs'
import test from 'ava'
import { runGuest } from '../../bench/vcpu-path/guest.ts'
import type { ModeName } from '../../bench/vcpu-path/modes.ts'
import { REFERENCE, runReference } from '../../bench/vcpu-path/reference.ts'

const COUNT = 20
const MODES: readonly ModeName[] = ['same', 'first', 'told', 'mmio-read', 'mmio-write']

for (const mode of MODES) {
  test.serial(`the loop in C and Seawall run the same guest: ${mode}`, async (t) => {
    if (!existsSync(REFERENCE)) {
      t.log(`SKIPPED: the lab was started without ${REFERENCE}, which npm test builds`)
      t.pass()
      return
    }
    const inC = runReference(mode, COUNT)
    const inSeawall = await runGuest(mode, COUNT)
    for (const { times } of [inC, inSeawall]) {
      t.is(times.length, COUNT)
      t.true(times.every((time) => Number.isInteger(time) && time > 0))
    }
    t.is(inSeawall.read, inC.read)
    t.is(inC.read.length, mode === 'told' ? 2 * 172 * COUNT : 0)
    const sum = (times: readonly number[]) => times.reduce((all, time) => all + time, 0)
    t.log(`${(sum(inSeawall.times) / sum(inC.times)).toFixed(2)} times as long, of wall clock`)
  })
}
