import { setTimeout as sleep } from 'node:timers/promises'
import type { Vm } from 'seawall'
import { CLOSE_INSIDE } from './close-inside.ts'
import { createGuest, PAGE, SPIN, settled, TOUCH } from './lifecycle-guest.ts'
import { collectGarbage, MIB, memoryInUse, openFiles, until, vmThreads } from './process-state.ts'
import { expect, expectAtMost, type Measured, rounded, type Scale, type Trial } from './trial.ts'

/** How much more memory may be in use after as many VMs again. */
const GROWTH = 16 * MIB

async function rounds({ size }: Scale): Promise<Measured> {
  const round = async () => {
    const vm = await createGuest([[TOUCH, SPIN], [SPIN]])
    await vm.start()
    await vm.close()
  }
  // The allocator has its size after as many as are measured.
  for (let index = 0; index < size; index += 1) await round()
  const before = { ...(await memoryInUse()), files: openFiles() }
  const began = performance.now()
  for (let index = 0; index < size; index += 1) await round()
  const took = performance.now() - began
  await until('threads that end', () => vmThreads().length === 0)
  const after = { ...(await memoryInUse()), files: openFiles() }
  expect('open files', after.files, before.files)
  expectAtMost('growth of rss in bytes', after.rss - before.rss, GROWTH)
  expectAtMost('growth of heapUsed in bytes', after.heapUsed - before.heapUsed, 4 * MIB)
  return {
    rounds: size,
    'ms each': rounded(took / size),
    'rss MiB': rounded((after.rss - before.rss) / MIB),
    'heapUsed MiB': rounded((after.heapUsed - before.heapUsed) / MIB),
  }
}

/** Ways to a state in which a VM is closed. What they return is still under way then. */
const STATES: Readonly<Record<string, (vm: Vm) => Promise<readonly unknown[]>>> = {
  created: async () => [],
  starting: async (vm) => [vm.start()],
  running: async (vm) => [await vm.start()],
  pausing: async (vm) => [await vm.start(), vm.pause()],
  paused: async (vm) => [await vm.start(), await vm.pause()],
  resuming: async (vm) => [await vm.start(), await vm.pause(), vm.resume()],
  stopping: async (vm) => [await vm.start(), vm.stop()],
  stopped: async (vm) => [await vm.start(), await vm.stop()],
  closing: async (vm) => [vm.close()],
  closed: async (vm) => [await vm.close()],
  'losing pages': async (vm) => [await vm.start(), vm.reportPoison(PAGE, 2 ** 16)],
  'told everything at once': async (vm) => [
    vm.start(),
    vm.pause(),
    vm.resume(),
    vm.reportPoison(PAGE, 1),
    vm.replacePage(PAGE),
    vm.vcpus[0]?.getRegister('pc'),
    vm.vcpus[1]?.injectSError(),
    vm.stop(),
    vm.wait(),
  ],
}

async function closeIn(reach: (typeof STATES)[string], { size }: Scale): Promise<Measured> {
  const count = Math.ceil(size / 50)
  for (let round = 0; round < count; round += 1) {
    const vm = await createGuest([[SPIN], [SPIN]])
    const pending = Promise.allSettled(await reach(vm))
    const closing = vm.close()
    // Each is answered, whatever the answer is.
    await settled('what was asked before', pending)
    await settled('close()', closing)
    expect('state', vm.state, 'closed')
  }
  await until('threads that end', () => vmThreads().length === 0)
  return { rounds: count }
}

/** VMs that nobody holds any more, in states that hold nothing themselves. */
async function forgotten({ size }: Scale): Promise<Measured> {
  const count = Math.ceil(size / 20)
  let finalized = 0
  const registry = new FinalizationRegistry<null>(() => {
    finalized += 1
  })
  const references: WeakRef<Vm>[] = []
  const make = async (index: number) => {
    const vm = await createGuest([[TOUCH, SPIN]])
    vm.console.on('data', () => {})
    vm.on('memory-failure', () => {})
    if (index % 3 > 0) await vm.start()
    if (index % 3 === 1) await vm.pause()
    if (index % 3 === 2) await vm.stop()
    registry.register(vm, null)
    references.push(new WeakRef(vm))
  }
  for (let index = 0; index < count; index += 1) await make(index)
  const before = vmThreads().length
  await until('VMs that are collected', () => {
    collectGarbage()
    return finalized === count && vmThreads().length === 0
  })
  expect('VMs that are still there', references.filter((vm) => vm.deref() !== undefined).length, 0)
  return { VMs: count, 'threads before': before }
}

/** A VM that runs is not garbage, although nobody holds it. */
async function runsUnheld(): Promise<Measured> {
  let failures = 0
  const begin = async () => {
    const vm = await createGuest([[{ step: 'print', text: 'x'.repeat(100) }, TOUCH, SPIN]])
    vm.on('memory-failure', () => {
      failures += 1
    })
    await vm.start()
    return new WeakRef(vm)
  }
  const reference = await begin()
  for (let round = 0; round < 20; round += 1) {
    collectGarbage()
    await sleep(5)
  }
  expect('failures', failures, 1)
  const vm = reference.deref()
  expect('that it is there', vm !== undefined, true)
  await vm?.close()
  return {}
}

/** The trials of the lifecycle that run in one process, by name. */
export const LIFECYCLE: Readonly<Record<string, Trial>> = {
  'create, start, close': rounds,
  ...Object.fromEntries(
    Object.entries(STATES).map(([state, reach]) => [
      `close() of a VM that is ${state}`,
      (scale: Scale) => closeIn(reach, scale),
    ]),
  ),
  ...CLOSE_INSIDE,
  'garbage collection of VMs that do not run': forgotten,
  'no garbage collection of a VM that runs': runsUnheld,
}
