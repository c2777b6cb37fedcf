import test from 'ava'
import { type SimulatedStep, simulated, Vm, type VmEvent } from 'seawall'

function create(steps: SimulatedStep[], more: { name?: string } = {}): Promise<Vm> {
  const backend = simulated({ script: [steps] })
  return Vm.create({ memory: 4096, boot: { type: 'flat', image: new Uint8Array(4) }, backend, ...more })
}

const SEA: SimulatedStep = { step: 'sea', esr: 0x9200_0010n, gpa: 0x8000_0000n }

test('events carry the VM, the clocks and one sequence', async (t) => {
  await using vm = await create([SEA, { step: 'shutdown' }], { name: 'harbour' })
  const before = process.hrtime.bigint()
  const events: VmEvent[] = []
  for (const type of ['memory-failure', 'state-changed', 'exit'] as const) {
    vm.on(type, (event: VmEvent) => events.push(event))
  }
  await vm.start()
  await vm.wait()
  t.deepEqual(
    events.map(({ type }) => type),
    ['state-changed', 'memory-failure', 'state-changed', 'exit'],
  )
  for (const [index, event] of events.entries()) {
    t.is(event.seq, index + 1)
    t.is(event.schemaVersion, 1)
    t.true(event.monotonicNs >= before && event.monotonicNs <= process.hrtime.bigint())
    t.true(Math.abs(Date.parse(event.time) - Date.now()) < 60_000, event.time)
    t.regex(event.time, /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/)
  }
  t.like(events[1], { vm: { id: vm.id, name: 'harbour' }, backend: 'simulated' })
  t.deepEqual([vm.id.length, vm.name], [36, 'harbour'])
})

test('events end with the VM', async (t) => {
  const vm = await create([{ step: 'shutdown' }])
  const types: string[] = []
  const read = (async () => {
    for await (const event of vm.events()) types.push(event.type)
  })()
  await vm.start()
  await vm.wait()
  await vm.close()
  await read
  t.deepEqual(types, ['state-changed', 'state-changed', 'exit', 'state-changed'])
})

test('a reader that leaves is forgotten, and the others read on', async (t) => {
  await using vm = await create([SEA, SEA, { step: 'shutdown' }])
  const first = vm.events()
  const second = vm.events()
  await vm.start()
  await vm.wait()
  for await (const event of first) {
    t.is(event.seq, 1)
    break
  }
  t.deepEqual(await first.next(), { done: true, value: undefined })
  t.is((await second.next()).value.seq, 1)
  t.is((await second.next()).value.seq, 2)
})

test('an aborted signal ends the events, also one that was aborted before', async (t) => {
  await using vm = await create([{ step: 'spin' }])
  const controller = new AbortController()
  const stream = vm.events({ signal: controller.signal })
  const waiting = stream.next()
  controller.abort()
  t.deepEqual(await waiting, { done: true, value: undefined })
  t.deepEqual(await vm.events({ signal: controller.signal }).next(), { done: true, value: undefined })
})

test('a reader that is too slow is told what it lost', async (t) => {
  const failures = 6000
  await using vm = await create([...Array.from({ length: failures }, () => SEA), { step: 'shutdown' }])
  const stream = vm.events()
  await vm.start()
  await vm.wait()
  await vm.close()
  let delivered = 0
  let lost = 0
  let next = 1
  for await (const event of stream) {
    if (event.type === 'events-lost') {
      t.is(event.fromSeq, next)
      lost += event.toSeq - event.fromSeq + 1
    } else {
      delivered += 1
      t.is(event.seq, next)
    }
    next = event.seq + 1
  }
  // A failure each, running, stopped, exit and closed.
  t.is(delivered + lost, failures + 4)
  t.true(lost > 0)
})
