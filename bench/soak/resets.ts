import { setTimeout as sleep } from 'node:timers/promises'
import { Vm } from 'seawall'
import { MIB, memoryInUse, openFiles, vmThreads } from './process-state.ts'
import { expect, expectAtMost, type Measured, rounded, type Scale, type Trial } from './trial.ts'

/** How much more memory may be in use after as many resets again. */
const GROWTH = { rss: 16 * MIB, heapUsed: 4 * MIB } as const
/** How long close() may take where every instruction is emulated. */
const CLOSE_MS = 5000

/** A guest that does nothing but reset itself, and boots again each time. */
async function resets({ size }: Scale): Promise<Measured> {
  const boot = { type: 'flat', image: 'build/guests/reset.bin' } as const
  await using vm = await Vm.create({ memory: 4 * MIB, vcpus: 2, onReset: 'restart', boot })
  let seen = 0
  vm.on('guest-reset', () => {
    seen += 1
  })
  const until = async (count: number) => {
    while (seen < count) {
      if (!['created', 'running'].includes(vm.state))
        throw new Error(`Expected a running VM but received one that is ${vm.state}`)
      await sleep(1)
    }
  }
  await vm.start()
  await until(size / 2)
  const state = async () => ({ ...(await memoryInUse()), files: openFiles(), threads: vmThreads().length })
  const before = await state()
  // The guest has gone on while the memory was looked at.
  const from = seen
  const began = performance.now()
  await until(from + size / 2)
  const took = performance.now() - began
  const after = await state()
  expect('open files', after.files, before.files)
  expect('threads', after.threads, before.threads)
  for (const [what, most] of Object.entries(GROWTH) as [keyof typeof GROWTH, number][])
    expectAtMost(`growth of ${what} in bytes`, after[what] - before[what], most)
  const closing = performance.now()
  await vm.close()
  const closeMs = performance.now() - closing
  expectAtMost('milliseconds for close()', closeMs, CLOSE_MS)
  return {
    rounds: from + size / 2,
    'ms each': rounded(took / (size / 2)),
    'rss MiB': rounded((after.rss - before.rss) / MIB),
    'heapUsed MiB': rounded((after.heapUsed - before.heapUsed) / MIB),
    'close ms': rounded(closeMs),
  }
}

/** Resets of a guest, which a simulated one is past after one. */
export const RESETS: Readonly<Record<string, Trial>> = {
  'a guest that resets itself again and again': resets,
}
