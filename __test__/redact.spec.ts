import test from 'ava'
import { jsonReplacer, type MemoryFailure, type SimulatedStep, simulated, Vm, type VmOptions } from 'seawall'
import { NO_HURRY_MS } from './behaviours/behaviour.ts'

/** Values that occur nowhere else: in whatever is told they would be seen. */
const FAR = 0xaaaa_1234_5670n
const PC = 0xffff_8000_0987_6540n
const PSTATE = 0x6040_03c5n
const SEA: SimulatedStep = {
  step: 'sea',
  esr: 0x9600_0010n,
  gpa: 0x8000_1000n,
  far: FAR,
  pc: PC,
  pstate: PSTATE,
}
const SECRETS = [FAR, PC, PSTATE].map((value) => value.toString(16))

function create(steps: SimulatedStep[], options: Partial<VmOptions> = {}): Promise<Vm> {
  return Vm.create({
    memory: 2 ** 20,
    boot: { type: 'flat', image: new Uint8Array(4) },
    backend: simulated({ script: [steps] }),
    redact: true,
    ...options,
  })
}

/** What of the guest's own addresses and state is in a text. */
function leaks(value: unknown): string[] {
  const text = JSON.stringify(value, jsonReplacer)
  return SECRETS.filter((secret) => text.includes(secret))
}

test('redacted events and pending failures say neither where nor in which state the guest was', async (t) => {
  await using vm = await create([SEA, { step: 'spin' }], { memoryFailure: { recoverable: 'pause' } })
  const stream = vm.events()
  const emitted: unknown[] = []
  vm.on('memory-failure', (event) => emitted.push(event))
  const paused = new Promise<void>((resolve) =>
    vm.on('state-changed', ({ to }) => to === 'paused' && resolve()),
  )
  await vm.start()
  await paused
  const [pending] = vm.pendingFailures()
  const kept = {
    gva: null,
    gpa: 0x8000_1000n,
    consumer: { mode: 'kernel', pc: null, pstate: null },
    abort: { esr: 0x9600_0010n },
    page: { gpa: 0x8000_1000n },
  } as const
  t.like(pending, kept)
  await vm.resume()
  await vm.close()
  const events = []
  for await (const event of stream) events.push(event)
  const failures = events.filter(({ type }) => type === 'memory-failure')
  t.is(failures.length, 2)
  for (const failure of failures) t.like(failure, kept)
  t.deepEqual(leaks([pending, events, emitted]), [])
})

test('without redact all of it is told', async (t) => {
  await using vm = await create([SEA, { step: 'shutdown' }], { redact: false })
  const stream = vm.events()
  await vm.start()
  await vm.wait()
  await vm.close()
  const events = []
  for await (const event of stream) events.push(event)
  t.deepEqual(leaks(events), SECRETS)
})

test('decide gets the whole failure, and the event of its decision is redacted', async (t) => {
  const asked: MemoryFailure[] = []
  await using vm = await create([SEA, { step: 'shutdown' }], {
    memoryFailure: {
      decisionTimeoutMs: NO_HURRY_MS,
      decide: (failure) => {
        asked.push(failure)
        return { action: 'inject' }
      },
    },
  })
  const stream = vm.events()
  await vm.start()
  await vm.wait()
  await vm.close()
  t.like(asked[0], { gva: FAR, consumer: { mode: 'kernel', pc: PC, pstate: PSTATE } })
  const events = []
  for await (const event of stream) events.push(event)
  t.like(
    events.find(({ type }) => type === 'memory-failure'),
    { decidedBy: 'decide', gva: null },
  )
  t.deepEqual(leaks(events), [])
})

test('the bytes of an exit that nobody knows are in no error of a redacted VM', async (t) => {
  for (const [redact, message] of [
    [true, /: exit reason 99$/],
    [false, /: exit reason 99 with payload \[/],
  ] as const) {
    await using vm = await create([{ step: 'exit', reason: 99 }], { redact })
    let told = ''
    vm.on('vcpu-failed', ({ error }) => {
      told = error.message
    })
    await vm.start()
    const { error } = await vm.wait()
    t.regex(error?.message ?? '', message)
    t.is(told, error?.message ?? '')
  }
})

test('a mode that nothing can be injected into is named without the rest of PSTATE', async (t) => {
  await using vm = await create([{ ...SEA, pstate: 0x6040_03c9n }])
  await vm.start()
  const { error } = await vm.wait()
  t.is(error?.code, 'ERR_INVALID_INJECTION')
  t.regex(error?.message ?? '', /EL2h/)
  t.notRegex(error?.message ?? '', /604003c9/)
})
