import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import test from 'ava'
import {
  type Decide,
  type MemoryFailureEvent,
  type SimulatedStep,
  simulated,
  Vm,
  type VmEvent,
  type VmExit,
} from 'seawall'
import { NO_HURRY_MS } from './behaviours/behaviour.ts'

const SEA = { step: 'sea', esr: 0x9200_0010n, far: 0x8000_1010n, gpa: 0x8000_1000n } as const
const report: SimulatedStep = { step: 'print', text: 'esr={esr_el1}\n' }

interface Outcome {
  failure: MemoryFailureEvent
  exit: VmExit
  console: string
}

/** Runs a guest that consumes one error, with a handler. */
async function run(decide: Decide, options: { esr?: bigint } = {}): Promise<Outcome> {
  const { esr = SEA.esr } = options
  const steps: SimulatedStep[] = [{ ...SEA, esr }, report, { step: 'shutdown' }]
  const vm = await Vm.create({
    memory: 2 ** 20,
    boot: { type: 'flat', image: new Uint8Array(4) },
    backend: simulated({ script: [steps] }),
    memoryFailure: { decide, decisionTimeoutMs: NO_HURRY_MS },
  })
  const events: VmEvent[] = []
  const read = (async () => {
    for await (const event of vm.events()) events.push(event)
  })()
  let console = ''
  vm.console.on('data', (chunk) => {
    console += chunk
  })
  const everythingSaid = once(vm.console, 'end')
  await vm.start()
  const exit = await vm.wait()
  await vm.close()
  await Promise.all([read, everythingSaid])
  const failure = events.find((event) => event.type === 'memory-failure')
  if (failure === undefined) throw new Error('nothing was consumed')
  return { failure, exit, console }
}

for (const [how, wrap] of [
  ['sync', (decision: unknown) => decision],
  ['async', async (decision: unknown) => decision],
] as const) {
  test(`a ${how} decision is carried out`, async (t) => {
    const abort = await run((() => wrap({ action: 'inject', abort: 'instruction' })) as Decide)
    t.like(abort.failure, { action: 'inject', decidedBy: 'decide', reason: 'the owner decided' })
    t.is(abort.console, 'esr=0x0000000082000010\n')
    const serror = await run((() => wrap({ action: 'inject-serror', iss: 0x11 })) as Decide)
    t.like(serror.failure, { action: 'inject-serror', injection: { method: 'serror' } })
    t.is(serror.console, 'esr=0x00000000be000011\n')
    const stop = await run((() => wrap({ action: 'stop' })) as Decide)
    t.like(stop.failure, { action: 'stop', decidedBy: 'decide', injection: null })
    t.deepEqual(stop.exit, { reason: 'policy', vcpu: 0 })
  })
}

test('the handler sees the failure, its VM and its vCPU, and reads registers', async (t) => {
  const seen: unknown[] = []
  const { failure } = await run(async (failure, { vm, vcpu, signal }) => {
    seen.push(failure, vm.state, vcpu.index, signal.aborted, await vcpu.getRegister('pc'))
    await t.throwsAsync(vcpu.injectDataAbort(), { code: 'ERR_INVALID_INJECTION' })
    return { action: 'inject' }
  })
  const { seq, vm, backend, vcpu, source, severity, abort, signal, gva, gpa, consumer, page } = failure
  const expected = { seq, vm, backend, vcpu, source, severity, abort, signal, gva, gpa, consumer, page }
  t.deepEqual(seen, [expected, 'running', 0, false, consumer?.pc])
  t.is(page?.state, 'quarantined', 'no other vCPU can consume it while the handler thinks')
})

test('pause pauses, and resume goes on', async (t) => {
  const resumed = run(({ vm: { id } }, { vm }) => {
    t.is(id, vm.id)
    vm.on('state-changed', ({ to }) => {
      if (to === 'paused') void vm.resume()
    })
    return { action: 'pause' }
  })
  const { failure, console } = await resumed
  t.like(failure, { action: 'pause', decidedBy: 'decide' })
  t.is(console, 'esr=0x0000000092000010\n')
})

test('an error that nobody can contain may wait for its owner', async (t) => {
  const paused = await run(
    (_, { vm }) => {
      vm.on('state-changed', ({ to }) => {
        if (to === 'paused') void vm.stop()
      })
      return { action: 'pause' }
    },
    { esr: 0x9200_1010n },
  )
  t.like(paused.failure, { action: 'pause', decidedBy: 'decide', severity: 'fatal' })
})

test('two vCPUs ask at once, and each gets its own answer', async (t) => {
  const steps = (page: bigint): SimulatedStep[] => [{ ...SEA, gpa: page }, { step: 'spin' }]
  const asked: number[] = []
  let haveBothAsked = () => {}
  const bothHaveAsked = new Promise<void>((resolve) => {
    haveBothAsked = resolve
  })
  await using vm = await Vm.create({
    memory: 2 ** 20,
    vcpus: 2,
    boot: { type: 'flat', image: new Uint8Array(4) },
    backend: simulated({ script: [steps(0x8000_1000n), steps(0x8000_2000n)] }),
    memoryFailure: {
      decisionTimeoutMs: NO_HURRY_MS,
      decide: async (failure) => {
        asked.push(failure.vcpu ?? -1)
        if (asked.length === 2) haveBothAsked()
        // Both wait before either is answered.
        await bothHaveAsked
        return failure.vcpu === 0 ? { action: 'inject' } : { action: 'inject', abort: 'instruction' }
      },
    },
  })
  const events = vm.events()
  await vm.start()
  const failures = new Map<number | null, MemoryFailureEvent>()
  for await (const event of events) {
    if (event.type === 'memory-failure') failures.set(event.vcpu, event)
    if (failures.size === 2) break
  }
  t.is(failures.get(0)?.injection?.esr, 0x9200_0010n)
  t.is(failures.get(1)?.injection?.esr, 0x8200_0010n)
  t.deepEqual(asked.sort(), [0, 1])
})

test('while a vCPU waits for an answer the VM pauses, resumes and stops', async (t) => {
  let answer = (_: { action: 'inject' }) => {}
  const wait = new Promise<{ action: 'inject' }>((resolve) => {
    answer = resolve
  })
  let ask = () => {}
  const asked = new Promise<void>((resolve) => {
    ask = resolve
  })
  await using vm = await Vm.create({
    memory: 2 ** 20,
    boot: { type: 'flat', image: new Uint8Array(4) },
    backend: simulated({ script: [[SEA, report, { step: 'spin' }]] }),
    memoryFailure: {
      decisionTimeoutMs: NO_HURRY_MS,
      decide: () => {
        ask()
        return wait
      },
    },
  })
  const output = new Promise((resolve) => vm.console.once('data', (data) => resolve(String(data)[0])))
  await vm.start()
  await asked
  await vm.pause()
  t.is(vm.state, 'paused')
  t.is(await vm.vcpus[0]?.getRegister('pc'), 0x8000_0000n)
  answer({ action: 'inject' })
  await vm.resume()
  t.is(await output, 'e')
  t.is((await vm.stop()).reason, 'requested')
})

test('whoever decides is not asked about a failure of which he was told that nobody waits any more', async (t) => {
  const vcpus = 64
  const never = new Int32Array(new SharedArrayBuffer(4))
  const told = new Set<number>()
  const asked: { seq: number; told: boolean }[] = []
  await using vm = await Vm.create({
    memory: 2 ** 20,
    vcpus,
    boot: { type: 'flat', image: new Uint8Array(4) },
    backend: simulated({ script: Array(vcpus).fill([SEA, { step: 'spin' }]) }),
    memoryFailure: {
      quarantine: false,
      decisionTimeoutMs: 1,
      decide: ({ seq }, context) => {
        asked.push({ seq, told: told.has(seq) })
        // The event loop stands still until the policy has decided about all.
        while (context.vm.stats().decisions.fallback < vcpus) Atomics.wait(never, 0, 0, 1)
        return { action: 'inject' }
      },
    },
  })
  vm.on('decision-fallback', ({ failure }) => told.add(failure))
  await vm.start()
  while (told.size < vcpus) await new Promise(setImmediate)
  const before = asked.length
  for (let turn = 0; turn < 10; turn += 1) await new Promise(setImmediate)
  t.is(asked.length, before)
  t.true(before > 0)
  t.deepEqual(
    asked.filter(({ told }) => told),
    [],
  )
})

test('of what a vCPU has asked in vain no more than the last question is kept', async (t) => {
  const questions = 200
  const never = new Int32Array(new SharedArrayBuffer(4))
  let asked = 0
  await using vm = await Vm.create({
    memory: 2 ** 20,
    boot: { type: 'flat', image: new Uint8Array(4) },
    backend: simulated({ script: [[...Array<SimulatedStep>(questions).fill(SEA), { step: 'spin' }]] }),
    memoryFailure: {
      quarantine: false,
      sameFaultLimit: questions + 1,
      decisionTimeoutMs: 1,
      decide: (_, context) => {
        asked += 1
        while (context.vm.stats().decisions.fallback < questions) Atomics.wait(never, 0, 0, 1)
        return { action: 'inject' }
      },
    },
  })
  let told = 0
  vm.on('decision-fallback', () => {
    told += 1
  })
  await vm.start()
  while (told < questions) await new Promise(setImmediate)
  // Those of the turn in which the event loop stood still, and the last.
  t.true(asked <= 17, String(asked))
})

test('more vCPUs than are asked for in a turn are all asked, also where nothing is answered before', async (t) => {
  const vcpus = 20
  const script = Array.from({ length: vcpus }, (): SimulatedStep[] => [
    // Until what there is to tell of the start is told.
    { step: 'run', us: 50_000 },
    SEA,
    { step: 'spin' },
  ])
  let asked = 0
  let answer: (decision: { action: 'inject' }) => void
  const all = new Promise<{ action: 'inject' }>((resolve) => {
    answer = resolve
  })
  await using vm = await Vm.create({
    memory: 2 ** 20,
    vcpus,
    boot: { type: 'flat', image: new Uint8Array(4) },
    backend: simulated({ script }),
    memoryFailure: {
      quarantine: false,
      decisionTimeoutMs: NO_HURRY_MS,
      sameFaultLimit: vcpus + 1,
      decide: () => {
        asked += 1
        if (asked === vcpus) answer({ action: 'inject' })
        return all
      },
    },
  })
  let told = 0
  const done = new Promise<void>((resolve) => {
    vm.on('memory-failure', () => {
      told += 1
      if (told === vcpus) resolve()
    })
  })
  await vm.start()
  await done
  const { decisions } = vm.stats()
  t.is(decisions.asked, BigInt(vcpus))
  t.is(decisions.fallback, 0n)
})

test('a question that was answered leaves nothing behind', async (t) => {
  let signal: WeakRef<AbortSignal> | undefined
  await using vm = await Vm.create({
    memory: 2 ** 20,
    boot: { type: 'flat', image: new Uint8Array(4) },
    backend: simulated({ script: [[SEA, { step: 'spin' }]] }),
    memoryFailure: {
      decisionTimeoutMs: NO_HURRY_MS,
      decide: (_, context) => {
        signal = new WeakRef(context.signal)
        return { action: 'inject' }
      },
    },
  })
  const failure = new Promise((resolve) => vm.once('memory-failure', resolve))
  await vm.start()
  await failure
  setFlagsFromString('--expose-gc')
  const collectGarbage = runInNewContext('gc') as () => void
  for (let attempt = 0; attempt < 100 && signal?.deref() !== undefined; attempt += 1) {
    await sleep(10)
    collectGarbage()
  }
  t.not(signal, undefined)
  t.is(signal?.deref(), undefined)
})
