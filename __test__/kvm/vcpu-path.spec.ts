// The short form of the benchmark of the vCPU's path (bench/vcpu-path.ts): both sides run, and what they take can be compared.
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import test from 'ava'
import { timesOfSeawall } from '../../bench/vcpu-path/guest.ts'
import type { ModeName } from '../../bench/vcpu-path/modes.ts'

const LOOP = 'programs/kvm-loop'
const COUNT = 20
const MODES: readonly ModeName[] = ['same', 'first', 'mmio-read', 'mmio-write']

for (const mode of MODES) {
  test.serial(`the loop in C and Seawall run the same guest: ${mode}`, async (t) => {
    if (!existsSync(LOOP)) {
      t.log(`SKIPPED: the lab was started without ${LOOP}, which npm test builds`)
      t.pass()
      return
    }
    const lines = execFileSync(LOOP, [mode, String(COUNT), 'build/guests/timed-accesses.bin'], {
      encoding: 'utf8',
    })
    const ofC = lines.trim().split('\n').map(Number)
    const ofSeawall = await timesOfSeawall(mode, COUNT)
    for (const times of [ofC, ofSeawall]) {
      t.is(times.length, COUNT)
      t.true(times.every((time) => Number.isInteger(time) && time > 0))
    }
    const sum = (times: readonly number[]) => times.reduce((all, time) => all + time, 0)
    t.log(`${(sum(ofSeawall) / sum(ofC)).toFixed(2)} times as long, of wall clock`)
  })
}
