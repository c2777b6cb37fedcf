import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Vm } from 'seawall'
import { Injector } from '../../__test__/kvm/injector.ts'
import { MIB, memoryInUse } from './process-state.ts'
import { createStorm, POISON, VCPUS } from './storm-guest.ts'
import { HANDLERS, type Handler, Numbers } from './storm-handlers.ts'
import { expect, expectAtMost, type Measured, rounded, type Scale, type Trial } from './trial.ts'

/** How much more memory a storm's end may find than its first fifth: the rings and the heaps have their size by then. */
const GROWTH = { rss: 24 * MIB, external: 4 * MIB, heapUsed: 4 * MIB } as const
/** How long close() may take; in the lab, where every instruction is emulated and two processors share the work of six, longer. */
const CLOSE_MS = { simulated: 1000, kvm: 5000 } as const
/** An event loop that waits longer is starved, also on a machine with fewer processors than vCPUs. */
const DELAY_P99_MS = 200
/** In a storm that is shorter than this the delay says little. */
const ABORTS_TO_MEASURE = 10_000
/** In such a storm close() need only end: among other tests the machine may be busy with anything. */
const HANG_MS = 20_000

/** All aborts of a storm, to its end. */
async function weather(handler: Handler, scale: Scale): Promise<Measured> {
  const size = share(handler, scale.size)
  const numbers = new Numbers(3 * size + 100)
  await using vm = await createStorm({ ...scale, size }, handler.policy)
  if (handler.counts) numbers.listen(vm)
  handler.listen(vm)
  const reported = handler.inQuarantine ? 1 : 0
  if (handler.inQuarantine) await vm.reportPoison(POISON, 1)
  const delay = monitorEventLoopDelay({ resolution: 1 })
  const began = performance.now()
  delay.enable()
  await vm.start()
  await failures(vm, reported + size / 5)
  delay.disable()
  const before = await memoryInUse()
  delay.enable()
  await failures(vm, reported + size)
  const took = performance.now() - began
  delay.disable()
  const after = await memoryInUse()
  const { closeMs, produced } = await close(vm)
  const { delivered, lost, decisions, exits } = vm.stats()
  expect('failures', vm.stats().failures, BigInt(reported + size))
  expect('delivered and lost events together', Number(delivered + lost), produced)
  if (scale.backend === 'simulated') {
    // Each failure is an event, so is each fallback and late answer, and running, stopped, exit and closed are. A page of a
    // guest on KVM changes its state too.
    expect(
      'the number of the last event',
      produced,
      reported + size + 4 + Number(decisions.fallback + decisions.late),
    )
  }
  if (handler.counts) {
    expect('the events that listeners got', numbers.delivered, Number(delivered))
    expect('the numbers in events-lost', numbers.lost, Number(lost))
    expect('numbers that were not told once', numbers.wrong(produced).join(), '')
  }
  const measured: Measured = { aborts: size, 'aborts/s': Math.round((1000 * size) / took) }
  measured['lost'] = Number(lost)
  for (const [what, most] of Object.entries(GROWTH) as [keyof typeof GROWTH, number][]) {
    const grown = after[what] - before[what]
    expectAtMost(`growth of ${what} in bytes`, grown, most)
    measured[`${what} MiB`] = rounded(grown / MIB)
  }
  if (delay.count > 0) {
    measured['delay p50 ms'] = rounded(delay.percentile(50) / 1e6)
    measured['delay p99 ms'] = rounded(delay.percentile(99) / 1e6)
    measured['delay max ms'] = rounded(delay.max / 1e6)
  }
  if (size >= ABORTS_TO_MEASURE && scale.backend === 'simulated') {
    // Without one turn of the event loop there is nothing to measure either.
    const p99 = delay.count > 0 ? delay.percentile(99) / 1e6 : took
    expectAtMost('delay p99 ms', rounded(p99), DELAY_P99_MS)
  }
  measured['close ms'] = rounded(closeMs)
  if (handler.inQuarantine) expect('exits by a signal', Number(exits['sigbus']), size)
  measured['sea'] = Number(exits['arm-sea'])
  measured['sigbus'] = Number(exits['sigbus'])
  return measured
}

/** A storm that is closed while it lasts; one that was over before is tried again, as a longer one. */
async function closeInside(handler: Handler, scale: Scale): Promise<Measured> {
  for (let factor = 1; factor <= 64; factor *= 4) {
    const size = share(handler, scale.size) * factor
    await using vm = await createStorm({ ...scale, size }, handler.policy)
    handler.listen(vm)
    if (handler.inQuarantine) await vm.reportPoison(POISON, 1)
    const enough = Math.min(size / 20, 100)
    const starting = vm.start()
    // Where JavaScript is not needed for more, no turn of the event loop may take longer than the storm.
    if (handler.policy.decide === undefined) while (vm.stats().failures < enough);
    else await failures(vm, enough)
    const [{ closeMs, produced }] = await Promise.all([close(vm), starting])
    expect('state', vm.state, 'closed')
    const { failures: seen, delivered, lost } = vm.stats()
    expect('delivered and lost events together', Number(delivered + lost), produced)
    const most = scale.size < ABORTS_TO_MEASURE ? HANG_MS : CLOSE_MS[scale.backend]
    expectAtMost('milliseconds for close()', closeMs, most)
    if (Number(seen) < size) return { 'close ms': rounded(closeMs), aborts: Number(seen) }
  }
  throw new Error('every storm was over before it was closed')
}

/** Closes a VM, and says how long that took, and the number of its last event: so many there were. */
async function close(vm: Vm): Promise<{ closeMs: number; produced: number }> {
  let produced = 0
  vm.on('state-changed', ({ to, seq }) => {
    if (to === 'closed') produced = seq
  })
  const began = performance.now()
  await vm.close()
  return { closeMs: performance.now() - began, produced }
}

function share(handler: Handler, size: number): number {
  return VCPUS * Math.ceil((size * handler.share) / VCPUS)
}

async function failures(vm: Vm, count: number): Promise<void> {
  while (vm.stats().failures < count) {
    if (!['created', 'running'].includes(vm.state))
      throw new Error(`Expected a running VM but received one that is ${vm.state}`)
    await sleep(1)
  }
}

/**
 * On KVM the module makes each touch of the page an abort, also where it was taken away; a simulated guest brings that along, and
 * a page that is in quarantine before needs none.
 */
function poisoned({ inQuarantine }: Handler, trial: Trial): Trial {
  return async (scale) => {
    if (scale.backend === 'simulated' || inQuarantine) return await trial(scale)
    const injector = new Injector()
    try {
      injector.arm('fsc=0x10')
      return await trial(scale)
    } finally {
      injector[Symbol.dispose]()
    }
  }
}

/** The storms, by name. */
export const STORMS: Readonly<Record<string, Trial>> = Object.fromEntries(
  Object.entries(HANDLERS).flatMap(([name, handler]) => [
    [`heard by ${name}`, poisoned(handler, (scale) => weather(handler, scale))],
    [`heard by ${name}, closed inside`, poisoned(handler, (scale) => closeInside(handler, scale))],
  ]),
)
