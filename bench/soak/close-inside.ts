import { once } from 'node:events'
import type { SimulatedStep, Vm, VmOptions } from 'seawall'
import { createGuest, PAGE, SPIN, settled, TOUCH } from './lifecycle-guest.ts'
import { expect, type Measured, type Scale, type Trial } from './trial.ts'

/** A guest, and what makes it come to the callback. */
interface Callback {
  readonly script?: readonly (readonly SimulatedStep[])[]
  readonly options?: (act: (vm: Vm) => void) => Partial<VmOptions>
  /** Calls `act` from inside the callback, once or more often. */
  readonly reach: (vm: Vm, act: () => void) => Promise<unknown> | undefined
}

/** Starts a VM and acts at each event of a type. */
function at(type: string, more: Partial<Callback> = {}): Callback {
  return {
    ...more,
    reach: (vm, act) => {
      vm.on(type as 'exit', act)
      return Promise.all([vm.start(), more.reach?.(vm, act)])
    },
  }
}

const decide = (answer: 'at once' | 'never', options: { decisionTimeoutMs: number }) =>
  ((act) => ({
    memoryFailure: {
      ...options,
      decide: (_, { vm }) => {
        act(vm)
        return answer === 'never' ? new Promise(() => {}) : { action: 'inject' }
      },
    },
  })) satisfies Callback['options']
const unanswered = { memoryFailure: { decisionTimeoutMs: 1, decide: () => new Promise<never>(() => {}) } }
const late = {
  memoryFailure: {
    decisionTimeoutMs: 1,
    decide: async (_: unknown, { signal }: { signal: AbortSignal }) => {
      await once(signal, 'abort')
      return { action: 'inject' } as const
    },
  },
}
const storm = Array<SimulatedStep>(40_000).fill(TOUCH)
const promise = (operation: (vm: Vm) => Promise<unknown>, started = true): Callback => ({
  reach: async (vm, act) => {
    if (started) await vm.start()
    void operation(vm).then(act, act)
  },
})

/** Every place where a program's own code is called, by name. */
const CALLBACKS: Readonly<Record<string, Callback>> = {
  'state-changed': at('state-changed'),
  'memory-failure': at('memory-failure', { script: [[TOUCH, SPIN]] }),
  exit: at('exit', { script: [[{ step: 'shutdown' }]] }),
  'guest-reset': at('guest-reset', {
    script: [[{ step: 'reset' }, SPIN]],
    options: () => ({ onReset: 'restart' }),
  }),
  'unclaimed-access': at('unclaimed-access', {
    script: [[{ step: 'mmio-read', gpa: 0x1000n, size: 8 }, SPIN]],
  }),
  'page-state-changed': at('page-state-changed', {
    script: [[TOUCH, SPIN]],
    options: () => ({ memoryFailure: { recoverable: 'pause' } }),
    reach: async (vm) => {
      for await (const event of vm.events()) if (event.type === 'memory-failure') break
      await vm.replacePage(PAGE)
    },
  }),
  'poison-threshold-reached': at('poison-threshold-reached', {
    script: [[TOUCH, SPIN]],
    options: () => ({ memoryFailure: { threshold: { distinctPages: 1, action: 'report' } } }),
  }),
  'decision-fallback': at('decision-fallback', { script: [[TOUCH, SPIN]], options: () => unanswered }),
  'decision-late': at('decision-late', { script: [[TOUCH, SPIN]], options: () => late }),
  'events-lost': {
    script: [[...storm, SPIN]],
    reach: async (vm, act) => {
      vm.on('events-lost', act)
      await vm.start()
      // Nobody reads while this thread does not return to its event loop.
      while (vm.stats().lost === 0n && vm.stats().failures < storm.length);
    },
  },
  'vcpu-failed': at('vcpu-failed', { script: [[{ step: 'fail', errno: 5 }]] }),
  'console data': {
    script: [[{ step: 'print', text: 'x' }, SPIN]],
    reach: (vm, act) => {
      vm.console.on('data', act)
      return vm.start()
    },
  },
  'console write': {
    reach: async (vm, act) => {
      await vm.start()
      vm.console.write('x', act)
    },
  },
  decide: {
    script: [[TOUCH, SPIN]],
    options: decide('at once', { decisionTimeoutMs: 10_000 }),
    reach: (vm) => vm.start(),
  },
  'decide, unanswered': {
    script: [[TOUCH, SPIN]],
    options: decide('never', { decisionTimeoutMs: 10_000 }),
    reach: (vm) => vm.start(),
  },
  'for await': {
    script: [[TOUCH, SPIN]],
    reach: async (vm, act) => {
      const read = async () => {
        for await (const _ of vm.events()) act()
      }
      void read()
      await vm.start()
    },
  },
  'the promise of start()': promise((vm) => vm.start(), false),
  'the promise of pause()': promise((vm) => vm.pause()),
  'the promise of stop()': promise((vm) => vm.stop()),
  'the promise of reportPoison()': promise((vm) => vm.reportPoison(PAGE, 1)),
  'the promise of getRegister()': promise(async (vm) => await vm.vcpus[0]?.getRegister('pc'), false),
  'the promise of injectSError()': promise(async (vm) => await vm.vcpus[0]?.injectSError(), false),
  'the promise of close()': promise((vm) => vm.close(), false),
  'a microtask': { reach: (_, act) => void queueMicrotask(act) },
}

/** Reaches a callback, and does something there. */
async function inside(callback: Callback, act: (vm: Vm) => void): Promise<void> {
  let acted = () => {}
  const done = new Promise<void>((resolve) => {
    acted = resolve
  })
  const actNow = (vm: Vm) => {
    act(vm)
    acted()
  }
  const vm = await createGuest(callback.script ?? [[SPIN]], callback.options?.(actNow))
  const reached = callback.reach(vm, () => actNow(vm))
  // What was asked for together with close() may come too late for it.
  void Promise.resolve(reached).catch(() => {})
  await settled('the callback', done)
  await settled('close()', vm.close())
  expect('state', vm.state, 'closed')
  await settled(
    'wait()',
    vm.wait().catch(({ code }) => expect('code', code, 'ERR_VM_CLOSED')),
  )
}

/** close() from inside every callback, by the callback's name. */
export const CLOSE_INSIDE: Readonly<Record<string, Trial>> = Object.fromEntries(
  Object.entries(CALLBACKS).map(([name, callback]) => [
    `close() inside ${name}`,
    async ({ size }: Scale): Promise<Measured> => {
      const rounds = Math.ceil(size / 100)
      for (let round = 0; round < rounds; round += 1) await inside(callback, (vm) => void vm.close())
      return { rounds }
    },
  ]),
)

/** process.exit() from inside a callback, by its name: the child that does it must end with code 7. */
export const CALLBACK_NAMES: readonly string[] = Object.keys(CALLBACKS)

/** Ends the process inside a callback. */
export async function exitInside(name: string): Promise<void> {
  const callback = CALLBACKS[name]
  if (callback === undefined) throw new Error(`Expected a callback but received ${name}`)
  await inside(callback, () => process.exit(7))
}
