import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'
import {
  type Decide,
  type Decision,
  type SimulatedStep,
  Vm,
  type VmEvent,
  type VmExit,
  type VmOptions,
} from 'seawall'
import { EL1, type Like, NO_HURRY_MS, sea } from './behaviour.ts'
import { Lateness } from './lateness.ts'

/** A handler, most of them one that does not behave, and what comes of it. */
export interface DecideCase {
  /** The claim. */
  name: string
  decide: Decide
  policy?: Pick<NonNullable<VmOptions['memoryFailure']>, 'recoverable'>
  /** ISS.SET of the error. */
  set?: number
  /** How long the vCPU waits at most, where the handler does not answer. */
  timeoutMs?: number
  /** Why the policy decided; none where the handler did. */
  fallback?: { reason: string; error?: RegExp }
  failure: Like<Extract<VmEvent, { type: 'memory-failure' }>>
  exit: VmExit
  /** Whether the answer is told to have come too late. */
  late?: boolean
  /** What the guest read in ESR_EL1, where it went on. */
  esr?: bigint
}

/** What a vCPU may wait longer than the deadline. */
const SLACK_MS = 50
const SHORT_MS = 200

const HOLE = 0x1000_0000n
const shutdown: VmExit = { reason: 'shutdown', vcpu: 0 }
const stopped: VmExit = { reason: 'policy', vcpu: 0 }
const requested: VmExit = { reason: 'requested', vcpu: null }
const data = 0x9600_0010n
const instruction = 0x8600_0010n
const injected = { action: 'inject', injection: { result: 'ok', esr: data } } as const
/** The policy's own verdict stayed in force. */
const fellBack = { failure: { ...injected, decidedBy: 'fallback' }, exit: shutdown, esr: data } as const
const never = (): Promise<Decision> => new Promise(() => {})
/** Takes what the types do not allow. */
const returns = (answer: unknown): Decide => (() => answer) as Decide
const throws =
  (error: unknown): Decide =>
  () => {
    throw error
  }

export const decideCases: DecideCase[] = [
  {
    name: 'what a handler returns is done',
    decide: returns({ action: 'inject', abort: 'instruction' }),
    failure: { action: 'inject', decidedBy: 'decide', injection: { result: 'ok', esr: instruction } },
    exit: shutdown,
    esr: instruction,
  },
  {
    name: 'what a handler resolves with is done',
    decide: async () => ({ action: 'stop' }),
    failure: { action: 'stop', decidedBy: 'decide', severity: 'recoverable', injection: null },
    exit: stopped,
  },
  {
    name: 'a handler that throws leaves the decision to the policy',
    decide: throws(new Error('no idea')),
    ...fellBack,
    fallback: { reason: 'threw', error: /^no idea$/ },
  },
  {
    name: 'what a handler throws need not be an error, nor have words',
    decide: throws(Object.create(null)),
    ...fellBack,
    fallback: { reason: 'threw', error: /^something that cannot be put into words$/ },
  },
  {
    name: 'the message of what a handler throws need not be a string',
    decide: throws(Object.assign(new Error(), { message: 42 })),
    ...fellBack,
    fallback: { reason: 'threw', error: /^42$/ },
  },
  {
    name: 'a handler that rejects leaves the decision to the policy',
    decide: () => Promise.reject(new Error('not today')),
    ...fellBack,
    fallback: { reason: 'rejected', error: /^not today$/ },
  },
  {
    name: 'a handler that returns nothing leaves the decision to the policy',
    decide: returns(undefined),
    ...fellBack,
    fallback: {
      reason: 'invalid',
      error: /^Expected an object for the decision about failure \d+ but received undefined$/,
    },
  },
  {
    name: 'a handler that returns nonsense leaves the decision to the policy',
    decide: returns({ action: 'explode' }),
    ...fellBack,
    fallback: {
      reason: 'invalid',
      error: /^Expected 'inject' or .* for the decision about failure \d+\.action but received "explode"$/,
    },
  },
  {
    name: 'a handler that misspells an option leaves the decision to the policy',
    decide: returns({ action: 'inject', about: 'data' }),
    ...fellBack,
    fallback: {
      reason: 'invalid',
      error: /^Expected only action, abort for the properties of .* but received "about"$/,
    },
  },
  {
    name: 'a handler whose answer throws when it is looked at leaves the decision to the policy',
    decide: returns({
      get action() {
        throw new Error('do not look')
      },
    }),
    ...fellBack,
    fallback: { reason: 'invalid', error: /^do not look$/ },
  },
  {
    name: 'a handler that wants to inject what nobody can contain leaves the decision to the policy',
    decide: returns({ action: 'inject' }),
    set: 2,
    failure: { action: 'stop', decidedBy: 'fallback', severity: 'fatal', injection: null },
    exit: stopped,
    fallback: { reason: 'invalid' },
  },
  {
    name: 'a handler that never answers is waited for until the deadline',
    decide: never,
    timeoutMs: SHORT_MS,
    ...fellBack,
    fallback: { reason: 'timeout' },
  },
  {
    name: 'where a handler never answers, a policy that stops stops',
    decide: never,
    policy: { recoverable: 'stop' },
    timeoutMs: SHORT_MS,
    failure: { action: 'stop', decidedBy: 'fallback', severity: 'recoverable', injection: null },
    exit: stopped,
    fallback: { reason: 'timeout' },
  },
  {
    name: 'a late answer is told and changes nothing',
    decide: async (_, { signal }) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      return { action: 'stop' }
    },
    timeoutMs: SHORT_MS,
    ...fellBack,
    fallback: { reason: 'timeout' },
    late: true,
  },
  {
    name: 'of two answers the first counts',
    decide: returns({
      // biome-ignore lint/suspicious/noThenProperty: it is what answers twice.
      then(answer: (decision: Decision) => void) {
        answer({ action: 'inject', abort: 'instruction' })
        answer({ action: 'stop' })
        throw new Error('and a third')
      },
    }),
    failure: { action: 'inject', decidedBy: 'decide', injection: { result: 'ok', esr: instruction } },
    exit: shutdown,
    esr: instruction,
  },
  {
    name: 'a handler that closes the VM does not wait for itself',
    decide: async (_, { vm }) => {
      await vm.close()
      return { action: 'inject' }
    },
    failure: { ...injected, decidedBy: 'fallback' },
    exit: requested,
    fallback: { reason: 'closing' },
  },
  {
    name: 'a handler that blocks the event loop for two seconds holds the vCPU until the deadline',
    decide: () => {
      const until = performance.now() + 2000
      while (performance.now() < until);
      return { action: 'stop' }
    },
    timeoutMs: SHORT_MS,
    ...fellBack,
    fallback: { reason: 'timeout' },
    late: true,
  },
]

const mark: SimulatedStep = { step: 'mmio-write', gpa: HOLE, data: new Uint8Array(8) }

/** The guest read-marked as the simulator plays it. */
export function decideScript({ set = 0 }: DecideCase): SimulatedStep[][] {
  const print: SimulatedStep = { step: 'print', text: 'esr={esr_el1}\n' }
  return [[mark, sea(0x9200_0010n | (BigInt(set) << 11n), EL1), mark, print, { step: 'shutdown' }]]
}

/** How often a case may be tried: a busy machine holds any thread for as long as it likes, and a defect holds every time. */
const ATTEMPTS = 4

/** Runs a case and checks what it claims, and that the vCPU was not held longer than the deadline allows. */
export async function checkDecision(
  t: ExecutionContext,
  decideCase: DecideCase,
  backend: Pick<VmOptions, 'backend' | 'boot'>,
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const { heldMs, limitMs } = await checkOnce(t, decideCase, backend)
    if (heldMs <= limitMs || attempt === ATTEMPTS) {
      t.true(heldMs <= limitMs, `held ${heldMs} ms, of at most ${limitMs} ms`)
      return
    }
  }
}

async function checkOnce(
  t: ExecutionContext,
  { decide, policy, timeoutMs = NO_HURRY_MS, ...expected }: DecideCase,
  backend: Pick<VmOptions, 'backend' | 'boot'>,
): Promise<{ heldMs: number; limitMs: number }> {
  const uncaught: unknown[] = []
  const note = (error: unknown) => uncaught.push(error)
  process.on('uncaughtException', note).on('unhandledRejection', note)
  const waitsForDeadline = expected.fallback?.reason === 'timeout'
  await using lateness = waitsForDeadline ? await Lateness.start() : undefined
  const events: VmEvent[] = []
  let console = ''
  // A VM that has ended keeps no process alive, and a late answer may come after the end.
  const alive = setInterval(() => {}, 1000)
  try {
    const memoryFailure = { ...policy, decide, decisionTimeoutMs: timeoutMs }
    const vm = await Vm.create({
      memory: 4 * 2 ** 20,
      unclaimedAccess: 'read-zero',
      memoryFailure,
      ...backend,
    })
    vm.console.setEncoding('utf8').on('data', (text: string) => {
      console += text
    })
    const everythingSaid = once(vm.console, 'end')
    const stream = vm.events()
    await vm.start()
    for await (const event of stream) {
      events.push(event)
      const waitsFor = expected.late === true ? 'decision-late' : 'exit'
      // A late answer may come before the end or after it.
      if (events.some(({ type }) => type === waitsFor) && events.some(({ type }) => type === 'exit')) break
    }
    await vm.close()
    await everythingSaid
    // Node tells of a rejection that nobody handles after the turn that it came in.
    await setImmediate()
  } finally {
    clearInterval(alive)
    process.off('uncaughtException', note).off('unhandledRejection', note)
  }
  t.deepEqual(uncaught, [])

  const find = <Type extends VmEvent['type']>(type: Type) =>
    events.filter((event): event is Extract<VmEvent, { type: Type }> => event.type === type)
  const [failure, ...others] = find('memory-failure')
  t.deepEqual(others, [])
  t.like(failure, expected.failure)
  t.like(find('exit')[0], { exit: expected.exit })
  const fallbacks = find('decision-fallback')
  t.is(fallbacks.length, expected.fallback === undefined ? 0 : 1)
  if (expected.fallback !== undefined) {
    const { reason, error } = expected.fallback
    t.like(fallbacks[0], { failure: failure?.seq, reason })
    if (error !== undefined) t.regex(fallbacks[0]?.error ?? '', error)
  }
  const late = find('decision-late')
  t.deepEqual(
    late.map(({ failure }) => failure),
    expected.late === true ? [failure?.seq] : [],
  )
  t.true(late.every(({ afterMs }) => afterMs >= timeoutMs))
  if (expected.esr !== undefined) t.regex(console, new RegExp(`^esr=0x0*${expected.esr.toString(16)}$`, 'm'))

  // Both stamps are of the vCPU's thread: right before the guest's access, and right after what was done about it.
  const [before] = find('unclaimed-access')
  const heldMs = Number((failure?.monotonicNs ?? 0n) - (before?.monotonicNs ?? 0n)) / 1e6
  const lateMs = lateness?.worstMs ?? 0
  t.log(`held ${heldMs.toFixed(1)} ms of ${timeoutMs}, other threads up to ${lateMs.toFixed(1)} ms late`)
  if (waitsForDeadline) t.true(heldMs >= timeoutMs, `held ${heldMs} ms only`)
  return { heldMs, limitMs: timeoutMs + SLACK_MS + lateMs }
}
