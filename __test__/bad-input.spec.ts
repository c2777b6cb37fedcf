import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import {
  decodeEsr,
  formatEsr,
  jsonReplacer,
  jsonReviver,
  SeawallError,
  type SimulatedStep,
  simulated,
  toLibvirt,
  toQmp,
  Vm,
} from 'seawall'
import { almost, anything, cases } from './arbitrary/values.ts'
import { NO_HURRY_MS } from './behaviours/behaviour.ts'
import { examples } from './event-examples.ts'

const BAD_INPUT = [
  // null is no backend, so that it is the default one.
  'ERR_UNSUPPORTED_HOST',
  'ERR_KVM_PERMISSION',
  'ERR_INVALID_OPTION',
  'ERR_INVALID_IMAGE',
  'ERR_INVALID_STATE',
  'ERR_INVALID_INJECTION',
  'ERR_GUEST_MEMORY',
  'ERR_POISONED_PAGE',
  'ERR_QUARANTINE',
  'ERR_OUT_OF_RESOURCES',
]
const ONE_FORM = /^Expected .+ but (received|it has) .+$/s

/** Whether a call succeeds, or fails with an error that says what was expected. Anything else it throws is a bug. */
async function isAnswered(call: () => unknown): Promise<void> {
  try {
    await call()
  } catch (error) {
    if (!(error instanceof SeawallError)) throw error
    if (!BAD_INPUT.includes(error.code)) throw error
    if (error.code === 'ERR_INVALID_OPTION' && !ONE_FORM.test(error.message)) throw error
  }
}

/** Gives a function many inputs. */
async function answers<Input>(
  t: ExecutionContext,
  input: fc.Arbitrary<Input>,
  call: (input: Input) => unknown,
  runs = 1000,
): Promise<void> {
  const property = fc.asyncProperty(input, (value) => isAnswered(() => call(value)))
  await fc.assert(property, cases(runs))
  t.pass()
}

const SEA: SimulatedStep = { step: 'sea', esr: 0x9200_0010n, far: 1n, gpa: 0x8000_0000n, pc: 1n, pstate: 0n }
const STEPS: SimulatedStep[] = [
  SEA,
  { ...SEA, ignoresInjection: true },
  { step: 'kernel-abort', esr: 0x9200_0010n, far: 0n, pc: 1n, pstate: 0n },
  { step: 'print', text: '{esr_el1}' },
  { step: 'mmio-read', gpa: 0n, size: 4 },
  { step: 'mmio-write', gpa: 0n, data: new Uint8Array(4) },
  { step: 'nisv', gpa: 0n, iss: 0n },
  { step: 'set-register', name: 'x0', value: 1n },
  { step: 'refuse-injection', errno: 22 },
  { step: 'refuse-register', name: 'x0', errno: 22 },
  { step: 'exit', reason: 99 },
]
const image = new Uint8Array(8)
const flat = { type: 'flat', image, loadAddress: 0x8000_0000n, entry: 0x8000_0000n } as const
const memoryFailure = {
  recoverable: 'inject',
  uncontainable: 'stop',
  quarantine: true,
  threshold: { distinctPages: 3, action: 'report' },
  sameFaultLimit: 3,
  notifyGuest: 'none',
  deferMs: 10,
  decide: () => ({ action: 'inject' }) as const,
  decisionTimeoutMs: 100,
} as const
const options = {
  id: 'an id',
  name: 'a name',
  memory: 2 ** 20,
  vcpus: 2,
  backend: { kind: 'simulated', script: [STEPS] },
  boot: flat,
  onReset: 'exit',
  unclaimedAccess: 'abort',
  memoryFailure,
  capabilities: { armSeaToUser: true, armNisvToUser: true },
  redact: true,
} as const

async function createAndClose(given: unknown): Promise<void> {
  const vm = await Vm.create(given as never)
  await vm.close()
}

test('create answers whatever options it gets', async (t) => {
  await createAndClose(options)
  await answers(t, fc.oneof(almost(options), anything), createAndClose, 3000)
})

test('create answers whatever a Linux guest is to boot from', async (t) => {
  const boot = { type: 'linux', kernel: '/nowhere', initrd: '/nowhere', cmdline: 'quiet', acpi: true }
  const given = almost(boot).map((wrong) => ({ ...options, memoryFailure: {}, boot: wrong }))
  await answers(t, given, createAndClose, 1000)
})

test('simulated answers whatever script it gets, and what it takes can be played', async (t) => {
  const given = fc.oneof(almost({ script: [STEPS, STEPS] }), anything)
  await answers(t, given, async (script) => {
    const backend = simulated(script as never)
    await using vm = await Vm.create({ ...options, memoryFailure: {}, backend, vcpus: 2 })
    await vm.start()
    // The second half of the reset that a script may ask for is nobody's here.
    await vm.stop()
  })
})

test('what decodes and what is JSON answers whatever it gets', async (t) => {
  await answers(t, anything, (value) => decodeEsr(value as bigint))
  await answers(t, anything, (value) => formatEsr(value as bigint))
  await answers(t, fc.tuple(fc.string(), anything), ([key, value]) => jsonReplacer.call({}, key, value))
  await answers(t, fc.tuple(fc.string(), anything), ([key, value]) => jsonReviver(key, value))
  const text = fc.json().map((json) => json)
  await answers(t, text, (json) => JSON.parse(json, jsonReviver))
})

test('what says an event in the words of others answers whatever it gets', async (t) => {
  const failure = examples['memory-failure'][0]
  const given = fc.oneof(
    fc.constantFrom<unknown>(...Object.values(examples).flat()),
    almost(failure),
    anything,
  )
  await answers(t, given, (event) => toQmp(event as never))
  await answers(t, given, (event) => toLibvirt(event as never))
})

/** A VM that waits, paused, with a failure to decide about. */
async function paused(): Promise<Vm> {
  const vm = await Vm.create({
    ...options,
    vcpus: 1,
    backend: simulated({ script: [[SEA, { step: 'spin' }]] }),
    memoryFailure: { recoverable: 'pause' },
  })
  const waits = new Promise((resolve) => vm.once('memory-failure', resolve))
  await vm.start()
  await waits
  while (vm.state !== 'paused') await new Promise(setImmediate)
  return vm
}

test('a paused VM answers whatever it is asked', async (t) => {
  await using vm = await paused()
  const [vcpu] = vm.vcpus
  if (vcpu === undefined) throw new Error('it has one')
  const calls: ((...values: never[]) => unknown)[] = [
    (name) => vcpu.getRegister(name),
    (name, value) => vcpu.setRegister(name, value),
    (gpa, length) => vm.memory.read(gpa, length),
    (gpa, data) => vm.memory.write(gpa, data),
    (gpa, length) => vm.reportPoison(gpa, length),
    (gpa) => vm.replacePage(gpa),
    (given) => vcpu.injectSError(given),
    (given) => vm.events(given).return?.(),
  ]
  const argument = fc.oneof(
    anything,
    fc.bigInt({ min: 0x8000_0000n - 10n, max: 0x8010_0000n + 10n }),
    fc.nat({ max: 2 ** 20 }),
    fc.constantFrom('pc', 'x0', 'x31', 'pstate', 'vbar_el1', 'X0'),
  )
  const call = fc.tuple(fc.constantFrom(...calls), fc.array(argument, { maxLength: 3 }))
  await answers(t, call, ([ask, values]) => ask(...(values as never[])), 3000)
  t.is(vm.state, 'paused')
})

test('the events of a VM answer whatever ends them', async (t) => {
  await using vm = await paused()
  const { signal } = new AbortController()
  const given = fc.oneof(almost({ signal }), anything)
  await answers(t, given, (wanted) => vm.events(wanted as never).return?.())
})

test('an injection answers whatever is wanted of it', async (t) => {
  await using vm = await paused()
  const injection = { fidelity: 'kvm', faultStatus: 0x10, far: 1n, set: 'uer', write: true }
  await answers(t, fc.oneof(almost(injection), anything), (given) =>
    vm.vcpus[0]?.injectDataAbort(given as never),
  )
  await answers(t, almost(injection), (given) => vm.vcpus[0]?.injectInstructionAbort(given as never))
  await answers(t, almost({ iss: 3 }), (given) => vm.vcpus[0]?.injectSError(given as never))
})

const DECISIONS = [
  { action: 'inject', abort: 'data' },
  { action: 'inject-serror', iss: 3 },
  { action: 'resume' },
  { action: 'pause' },
]

test('resume answers whatever was decided', async (t) => {
  const decision = fc.oneof(...DECISIONS.map((right) => almost(right)), anything)
  const seq = fc.oneof(fc.constant(2), anything)
  const given = fc.oneof(
    fc
      .array(fc.tuple(seq, decision), { maxLength: 3 })
      .map((decisions) => ({ decisions: new Map(decisions) })),
    almost({ decisions: new Map() }),
    anything,
  )
  let vm = await paused()
  await answers(t, given, async (wanted) => {
    await vm.resume(wanted as never)
    // It went on: the next one needs another that waits.
    await vm.close()
    vm = await paused()
  })
  await vm.close()
})

test('whatever decide returns or throws, the failure is settled and the VM goes on', async (t) => {
  const decision = fc.oneof(...DECISIONS.map((right) => almost(right)), anything)
  const how = fc.constantFrom('returns', 'throws', 'resolves', 'rejects')
  const property = fc.asyncProperty(decision, how, async (value, way) => {
    await using vm = await Vm.create({
      ...options,
      vcpus: 1,
      backend: simulated({ script: [[SEA, { step: 'shutdown' }]] }),
      memoryFailure: {
        decisionTimeoutMs: NO_HURRY_MS,
        decide: () => {
          if (way === 'throws') throw value
          if (way === 'rejects') return Promise.reject(value)
          return (way === 'resolves' ? Promise.resolve(value) : value) as never
        },
      },
    })
    const told = new Promise<{ decidedBy: string; action: string }>((resolve) =>
      vm.once('memory-failure', resolve),
    )
    await vm.start()
    const { decidedBy, action } = await told
    if (decidedBy === 'decide') {
      if (way === 'throws' || way === 'rejects') throw new Error('it decided nothing')
      if (action === 'resume') throw new Error('nothing was replaced')
    } else if (decidedBy !== 'fallback' || action !== 'inject') throw new Error(`${decidedBy}, ${action}`)
    const { asked, fallback, late } = vm.stats().decisions
    if (asked !== 1n || late !== 0n || fallback !== (decidedBy === 'fallback' ? 1n : 0n))
      throw new Error('miscounted')
  })
  await fc.assert(property, cases(500))
  t.pass()
})

// biome-ignore lint/suspicious/noSparseArray: a hole is what it is about.
const holes = [[{ step: 'spin' }, , { step: 'spin' }]] as never
const stateChanged = examples['state-changed'][0] as never
const pretender = Object.create(Map.prototype) as Map<number, never>
const once: [what: string, call: (vm: Vm) => unknown, message: string][] = [
  [
    'a script with a hole',
    () => simulated({ script: holes }),
    'Expected an object for script[0][1] but received undefined',
  ],
  [
    'a script of holes',
    () => simulated({ script: new Array(2) }),
    'Expected an array of steps for script[0] but received undefined',
  ],
  [
    'a signal that is none',
    (vm) => vm.events({ signal: 'SIGINT' as never }),
    'Expected an AbortSignal for signal but received "SIGINT"',
  ],
  [
    'decisions that are no Map',
    (vm) => vm.resume({ decisions: pretender }),
    'Expected a Map for decisions but received an object',
  ],
  [
    'bytes that are none',
    (vm) => vm.memory.write(0x8000_1000n, Object.create(Uint8Array.prototype)),
    'Expected a Uint8Array for data but received an object',
  ],
  ...[toQmp, toLibvirt].map((say): [string, () => unknown, string] => [
    `another event, by ${say.name}`,
    () => say(stateChanged),
    'Expected an event of the type memory-failure for event but received an object',
  ]),
]

for (const [what, call, message] of once) {
  test(`${what} is refused in the one form`, async (t) => {
    await using vm = await paused()
    await t.throwsAsync(async () => call(vm), {
      instanceOf: SeawallError,
      code: 'ERR_INVALID_OPTION',
      message,
    })
  })
}
