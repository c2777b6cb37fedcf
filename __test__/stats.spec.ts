import { once } from 'node:events'
import test from 'ava'
import { type SimulatedStep, simulated, Vm, type VmOptions, type VmStats } from 'seawall'
import { NO_HURRY_MS } from './behaviours/behaviour.ts'

const NO_EXITS = {
  mmio: 0n,
  'arm-sea': 0n,
  'arm-nisv': 0n,
  'arm-ldst64b': 0n,
  'memory-fault': 0n,
  'system-event': 0n,
  intr: 0n,
  sigbus: 0n,
  'fail-entry': 0n,
  'internal-error': 0n,
  other: 0n,
}
const NO_DECISIONS = { asked: 0n, late: 0n, fallback: 0n, waitedNs: 0n }
const NOTHING: VmStats = {
  exits: NO_EXITS,
  failures: 0n,
  delivered: 0n,
  lost: 0n,
  consoleBytesLost: 0n,
  decisions: NO_DECISIONS,
}

function create(script: SimulatedStep[][], options: Partial<VmOptions> = {}): Promise<Vm> {
  return Vm.create({
    memory: 2 ** 20,
    vcpus: script.length,
    boot: { type: 'flat', image: new Uint8Array(4) },
    backend: simulated({ script }),
    ...options,
  })
}

const SEA = { step: 'sea', esr: 0x9200_0010n, gpa: 0x8000_1000n } as const

test('every exit is counted by its reason, over all vCPUs, and stays counted after close', async (t) => {
  const all: SimulatedStep[] = [
    { step: 'print', text: 'abc' },
    { step: 'mmio-read', gpa: 0x1000n, size: 8 },
    { step: 'nisv', gpa: 0x1000n },
    SEA,
    SEA,
    { step: 'sea', esr: 0x9200_0010n },
    { step: 'spin' },
  ]
  await using vm = await create([
    all,
    [{ step: 'mmio-write', gpa: 0x1000n, data: new Uint8Array(8) }, { step: 'spin' }],
  ])
  t.deepEqual(vm.stats(), NOTHING)
  const stream = vm.events()
  await vm.start()
  for (let failures = 0, stores = 0; failures < 3 || stores < 3; ) {
    const { value } = await stream.next()
    if (value.type === 'memory-failure') failures += 1
    if (value.type === 'unclaimed-access') stores += 1
  }
  await vm.pause()
  const exits = { ...NO_EXITS, mmio: 5n, 'arm-nisv': 1n, 'arm-sea': 2n, sigbus: 1n, intr: 2n }
  // Running, three unclaimed accesses, three failures, paused.
  t.deepEqual(vm.stats(), { ...NOTHING, exits, failures: 3n, delivered: 8n })
  await vm.close()
  // Stopped, exit and closed; vCPUs that are paused leave no guest.
  const closed = { ...NOTHING, exits, failures: 3n, delivered: 11n }
  t.deepEqual(vm.stats(), closed)
  t.deepEqual(vm.stats(), closed)
})

test('exits that end the VM are counted', async (t) => {
  for (const [step, name] of [
    [{ step: 'shutdown' }, 'system-event'],
    [{ step: 'exit', reason: 99 }, 'other'],
  ] as const) {
    await using vm = await create([[step]])
    await vm.start()
    await vm.wait()
    t.deepEqual(vm.stats().exits, { ...NO_EXITS, [name]: 1n })
  }
})

test('a failure that waited is one failure, although two events tell of it', async (t) => {
  await using vm = await create([[SEA, { step: 'spin' }]], { memoryFailure: { recoverable: 'pause' } })
  const told: string[] = []
  vm.on('memory-failure', ({ action }) => told.push(action))
  const paused = new Promise<void>((resolve) =>
    vm.on('state-changed', ({ to }) => to === 'paused' && resolve()),
  )
  await vm.start()
  await paused
  await vm.resume()
  while (told.length < 2) await once(vm, 'memory-failure')
  t.deepEqual(told, ['pause', 'inject'])
  t.is(vm.stats().failures, 1n)
})

test('questions to decide are counted, with those that it did not answer', async (t) => {
  const steps = [0, 1].map((page) => ({ ...SEA, gpa: SEA.gpa + BigInt(page) * 4096n }))
  let asked = 0
  await using vm = await create([[...steps, { step: 'shutdown' }]], {
    memoryFailure: {
      decisionTimeoutMs: NO_HURRY_MS,
      decide: () => {
        asked += 1
        if (asked === 2) throw new Error('no idea')
        return { action: 'inject' }
      },
    },
  })
  await vm.start()
  await vm.wait()
  const { waitedNs, ...decisions } = vm.stats().decisions
  t.deepEqual(decisions, { asked: 2n, late: 0n, fallback: 1n })
  t.true(waitedNs > 0n)
})

test('questions to decide are counted, with those that it answered late', async (t) => {
  await using vm = await create([[SEA, { step: 'spin' }]], {
    memoryFailure: {
      decisionTimeoutMs: 50,
      decide: async (_, { signal }) => {
        await new Promise((resolve) => signal.addEventListener('abort', resolve))
        return { action: 'stop' }
      },
    },
  })
  const late = once(vm, 'decision-late')
  await vm.start()
  await late
  await vm.close()
  const { waitedNs, ...decisions } = vm.stats().decisions
  t.deepEqual(decisions, { asked: 1n, late: 1n, fallback: 1n })
  // The vCPU has waited until its deadline.
  t.true(waitedNs >= 50_000_000n)
})

test('what the ring loses is counted as lost, and with what it delivers it is everything', async (t) => {
  const failures = 20_000
  await using vm = await create([[...Array.from({ length: failures }, () => SEA), { step: 'spin' }]])
  let lost = 0n
  vm.on('events-lost', ({ fromSeq, toSeq }) => {
    lost += BigInt(toSeq - fromSeq + 1)
  })
  await vm.start()
  // Nobody reads while this thread does not return to its event loop.
  while (vm.stats().lost === 0n || vm.stats().failures < failures);
  await vm.close()
  const stats = vm.stats()
  // Running, stopped, exit and closed are events too.
  t.is(stats.delivered + stats.lost, BigInt(failures) + 4n)
  t.is(lost, stats.lost)
  t.is(stats.failures, BigInt(failures))
})
