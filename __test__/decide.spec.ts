import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import {
  type Decide,
  type MemoryFailureEvent,
  type SimulatedStep,
  simulated,
  Vm,
  type VmEvent,
  type VmExit,
} from 'seawall'

const SEA = { step: 'sea', esr: 0x9200_0010n, far: 0x8000_1010n, gpa: 0x8000_1000n } as const
const report: SimulatedStep = { step: 'print', text: 'esr={esr_el1}\n' }
/** On a machine of two busy cores a timer may be this late. */
const SLACK_MS = 50

interface Outcome {
  failure: MemoryFailureEvent
  events: VmEvent[]
  exit: VmExit
  console: string
}

/** Runs a guest that consumes one error, with a handler. */
async function run(decide: Decide, options: { esr?: bigint; timeoutMs?: number } = {}): Promise<Outcome> {
  const { esr = SEA.esr } = options
  const steps: SimulatedStep[] = [{ ...SEA, esr }, report, { step: 'shutdown' }]
  const vm = await Vm.create({
    memory: 2 ** 20,
    boot: { type: 'flat', image: new Uint8Array(4) },
    backend: simulated({ script: [steps] }),
    memoryFailure: { decide, decisionTimeoutMs: options.timeoutMs ?? 100 },
  })
  const events: VmEvent[] = []
  const read = (async () => {
    for await (const event of vm.events()) events.push(event)
  })()
  let console = ''
  vm.console.on('data', (chunk) => {
    console += chunk
  })
  await vm.start()
  const exit = await vm.wait()
  // A late answer has to come in before the VM is gone.
  await new Promise((resolve) => setTimeout(resolve, 100))
  await vm.close()
  await read
  const failure = events.find((event) => event.type === 'memory-failure')
  if (failure === undefined) throw new Error('nothing was consumed')
  return { failure, events, exit, console }
}

function fallback({ events }: Outcome) {
  const { failure, reason, error } = events.find((event) => event.type === 'decision-fallback') ?? {}
  return error === undefined ? { failure, reason } : { failure, reason, error }
}

/** The policy's own verdict stayed in force, and is told. */
function fellBack(t: ExecutionContext, outcome: Outcome, reason: string, error?: string): void {
  t.like(outcome.failure, { action: 'inject', decidedBy: 'fallback', injection: { result: 'ok' } })
  const { seq } = outcome.failure
  t.deepEqual(
    fallback(outcome),
    error === undefined ? { failure: seq, reason } : { failure: seq, reason, error },
  )
  t.deepEqual(outcome.exit, { reason: 'shutdown', vcpu: 0 })
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

test('what a handler throws is told, and the policy applies', async (t) => {
  const outcome = await run(() => {
    throw new Error('no idea')
  })
  fellBack(t, outcome, 'threw', 'no idea')
})

test('what a handler rejects with is told, and the policy applies', async (t) => {
  fellBack(t, await run(() => Promise.reject(new Error('not today'))), 'rejected', 'not today')
})

for (const [what, decision, error] of [
  ['nothing', undefined, 'Expected an object for the decision about failure 2 but received undefined'],
  [
    'nonsense',
    { action: 'explode' },
    "Expected 'inject' or 'inject-serror' or 'defer' or 'pause' or 'stop' or 'resume' for the decision about failure 2.action but received \"explode\"",
  ],
  [
    'a misspelt option',
    { action: 'inject', about: 'data' },
    'Expected only action, abort for the properties of the decision about failure 2 but received "about"',
  ],
] as const) {
  test(`a handler that returns ${what} leaves the decision to the policy`, async (t) => {
    fellBack(t, await run((() => decision) as never), 'invalid', error)
  })
}

test('an error that nobody can contain is not injected, whatever the handler says', async (t) => {
  const outcome = await run(() => ({ action: 'inject' }), { esr: 0x9200_1010n })
  t.like(outcome.failure, { action: 'stop', decidedBy: 'fallback', severity: 'fatal', injection: null })
  t.is(fallback(outcome).reason, 'invalid')
  const paused = await run(
    (_, { vm }) => {
      vm.on('state-changed', ({ to }) => {
        if (to === 'paused') void vm.stop()
      })
      return { action: 'pause' }
    },
    { esr: 0x9200_1010n },
  )
  t.like(paused.failure, { action: 'pause', decidedBy: 'decide' })
})

test('a handler that never answers is not waited for', async (t) => {
  let aborted = false
  const asked = performance.now()
  const outcome = await run((_, { signal }) => {
    signal.addEventListener('abort', () => {
      aborted = true
    })
    return new Promise(() => {})
  })
  t.true(performance.now() - asked < 100 + 1000)
  t.true(aborted)
  fellBack(t, outcome, 'timeout')
})

test('a late answer is told and changes nothing', async (t) => {
  const outcome = await run(async (_, { signal }) => {
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
    return { action: 'stop' }
  })
  fellBack(t, outcome, 'timeout')
  const late = outcome.events.find((event) => event.type === 'decision-late')
  t.is(late?.failure, outcome.failure.seq)
  t.true((late?.afterMs ?? 0) >= 100, `${late?.afterMs}`)
})

test('a handler that closes the VM ends it', async (t) => {
  const outcome = await run(async (_, { vm }) => {
    await vm.close()
    return { action: 'inject' }
  }).catch((error) => error)
  t.is(outcome.exit?.reason ?? 'requested', 'requested')
})

test('a handler that blocks the event loop does not hold the vCPU', async (t) => {
  const source = `
    import { simulated, Vm } from 'seawall'
    const script = [[{ step: 'sea', esr: 0x92000010n, gpa: 0x80001000n }, { step: 'spin' }]]
    const vm = await Vm.create({
      memory: 2 ** 20, boot: { type: 'flat', image: new Uint8Array(4) }, backend: simulated({ script }),
      memoryFailure: { decisionTimeoutMs: 100, decide: () => {
        const until = performance.now() + 2000
        while (performance.now() < until);
        return { action: 'stop' }
      } },
    })
    vm.on('decision-fallback', ({ reason }) => console.log(reason))
    vm.on('decision-late', ({ afterMs }) => console.log(afterMs > 1500))
    let asked
    vm.on('state-changed', ({ to, monotonicNs }) => { if (to === 'running') asked = monotonicNs })
    vm.on('memory-failure', ({ action, monotonicNs }) => {
      console.log(action, Number(monotonicNs - asked) / 1e6 < 100 + ${SLACK_MS * 4})
      setTimeout(() => vm.close(), 50)
    })
    await vm.start()
  `
  const args = ['--input-type=module', '--eval', source]
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 60_000 })
  t.deepEqual(stdout.trim().split('\n').sort(), ['inject true', 'timeout', 'true'])
})

test('two vCPUs ask at once, and each gets its own answer', async (t) => {
  const steps = (page: bigint): SimulatedStep[] => [{ ...SEA, gpa: page }, { step: 'spin' }]
  const asked: number[] = []
  await using vm = await Vm.create({
    memory: 2 ** 20,
    vcpus: 2,
    boot: { type: 'flat', image: new Uint8Array(4) },
    backend: simulated({ script: [steps(0x8000_1000n), steps(0x8000_2000n)] }),
    memoryFailure: {
      decisionTimeoutMs: 10_000,
      decide: async (failure) => {
        asked.push(failure.vcpu ?? -1)
        // Both wait before either is answered.
        while (asked.length < 2) await new Promise((resolve) => setTimeout(resolve, 1))
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
      decisionTimeoutMs: 60_000,
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
