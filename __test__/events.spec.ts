import { pathToFileURL } from 'node:url'
import test from 'ava'
import { type SimulatedStep, simulated, Vm, type VmEvent } from 'seawall'
import { NO_HURRY_MS } from './behaviours/behaviour.ts'

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

/** Counts how often each number was delivered or said to be lost. */
function count(numbers: number[], event: VmEvent): void {
  const from = event.type === 'events-lost' ? event.fromSeq : event.seq
  for (let seq = from; seq <= event.seq; seq += 1) numbers[seq] = (numbers[seq] ?? 0) + 1
}

test('a number is delivered or lost, and never both, where the ring loses those around it', async (t) => {
  const failures = 6000
  const asks: SimulatedStep[] = [{ step: 'sea', esr: 0x9200_0010n }, { step: 'spin' }]
  const storm: SimulatedStep[] = [...Array.from({ length: failures }, () => SEA), { step: 'spin' }]
  let answer = () => {}
  const answered = new Promise<void>((resolve) => {
    answer = resolve
  })
  const asked: (number | null)[] = []
  await using vm = await Vm.create({
    memory: 4096,
    vcpus: 2,
    boot: { type: 'flat', image: new Uint8Array(4) },
    backend: simulated({ script: [asks, storm] }),
    memoryFailure: {
      decisionTimeoutMs: NO_HURRY_MS,
      decide: async ({ vcpu }) => {
        asked.push(vcpu)
        // The number of this failure is reserved; those of the other vCPU come first.
        if (vcpu === 0) await answered
        return { action: 'inject' }
      },
    },
  })
  const numbers: number[] = []
  for (const type of ['memory-failure', 'state-changed', 'exit', 'events-lost'] as const) {
    vm.on(type, (event: VmEvent) => count(numbers, event))
  }
  const told = new Set<number | null>()
  vm.on('memory-failure', ({ vcpu }) => told.add(vcpu))
  await vm.start()
  while (asked.length < 2) await new Promise(setImmediate)
  // Nobody reads while this thread does not return to its event loop.
  while (vm.stats().failures <= failures);
  answer()
  // The vCPU has its answer when it has told so; a close before that would be the policy's answer.
  while (!told.has(0) || vm.stats().delivered < 4096n) await new Promise(setImmediate)
  await vm.close()
  const { delivered, lost, decisions } = vm.stats()
  t.deepEqual([lost > 0n, decisions.fallback], [true, 0n])
  t.is(numbers.length - 1, Number(delivered + lost))
  t.deepEqual(
    numbers.flatMap((times, seq) => (times === 1 ? [] : [[seq, times]])),
    [],
  )
})

test('a number is delivered or lost, and never both, where a stream loses those around it', async (t) => {
  const { EventStream } = await import(pathToFileURL('dist/event-stream.js').href)
  const stream = new EventStream(() => {})
  const numbers: number[] = []
  const push = (seq: number) => stream.push({ type: 'guest-reset', seq })
  const take = async () => count(numbers, (await stream.next()).value)
  let seq = 0
  const storm = (events: number) => {
    for (let index = 0; index < events; index += 1) push(++seq)
  }
  storm(3)
  // Numbers that are reserved, whose events come after others.
  const early = ++seq
  storm(2)
  const late = ++seq
  storm(4096)
  push(early)
  await take()
  storm(10)
  push(late)
  storm(20)
  stream.push({ type: 'events-lost', fromSeq: seq + 1, toSeq: seq + 5, seq: seq + 5 })
  seq += 5
  storm(10)
  stream.end()
  for await (const event of stream) count(numbers, event)
  t.is(numbers.length - 1, seq)
  t.deepEqual(
    numbers.flatMap((times, seq) => (times === 1 ? [] : [[seq, times]])),
    [],
  )
})

test('a storm of events leaves the event loop its turns', async (t) => {
  const failures = 100_000
  const steps = Array.from({ length: failures / 4 }, () => SEA)
  await using vm = await Vm.create({
    memory: 4096,
    vcpus: 4,
    boot: { type: 'flat', image: new Uint8Array(4) },
    backend: simulated({ script: [steps, steps, steps, steps] }),
  })
  let told = 0
  const perTurn: number[] = []
  vm.on('memory-failure', () => {
    told += 1
  })
  const turns = setInterval(() => {
    perTurn.push(told)
    told = 0
  })
  await vm.start()
  while (vm.stats().failures < failures) await new Promise(setImmediate)
  clearInterval(turns)
  perTurn.push(told)
  // A timer is due after a millisecond, which may be many turns.
  t.true(Math.max(...perTurn) < 4096, String(perTurn))
})

test('a storm of questions leaves the event loop its turns', async (t) => {
  const questions = 8000
  const ask: SimulatedStep = { step: 'sea', esr: 0x9200_0010n }
  const steps = Array.from({ length: questions / 4 }, () => ask)
  let asked = 0
  const perTurn: number[] = []
  await using vm = await Vm.create({
    memory: 4096,
    vcpus: 4,
    boot: { type: 'flat', image: new Uint8Array(4) },
    backend: simulated({ script: [steps, steps, steps, steps] }),
    memoryFailure: {
      decisionTimeoutMs: NO_HURRY_MS,
      decide: () => {
        asked += 1
        return { action: 'inject' }
      },
    },
  })
  const turns = setInterval(() => {
    perTurn.push(asked)
    asked = 0
  })
  await vm.start()
  while (vm.stats().failures < questions) await new Promise(setImmediate)
  clearInterval(turns)
  t.like(vm.stats().decisions, { asked: BigInt(questions), late: 0n, fallback: 0n })
  t.true(Math.max(...perTurn) < 500, String(perTurn))
})
