import { setTimeout as sleep } from 'node:timers/promises'
import type { Decide, MemoryFailurePolicy, Vm, VmEvent } from 'seawall'
import { NO_HURRY_MS } from '../../__test__/behaviours/behaviour.ts'

/** Who hears of a storm, and decides. */
export interface Handler {
  /** What the policy says of it. */
  readonly policy: MemoryFailurePolicy
  /** Whether all that the VM tells is counted. */
  readonly counts: boolean
  /** How many of the storm's aborts are enough: a handler that never answers costs each its deadline. */
  readonly share: number
  /** The page is in quarantine before the first abort: each is a signal, and consumes nothing. */
  readonly inQuarantine?: true
  /** Begins to listen. */
  listen(vm: Vm): void
}

const INJECT = { action: 'inject' } as const

/** Asked about each abort: without the quarantine no access is a hit on a page that is known. */
function asked(decide: Decide, options: { share?: number; decisionTimeoutMs?: number } = {}): Handler {
  const { share = 1, decisionTimeoutMs = NO_HURRY_MS } = options
  return { policy: { quarantine: false, decisionTimeoutMs, decide }, counts: true, share, listen: () => {} }
}

/** By its name, whoever hears of the storm. */
export const HANDLERS: Readonly<Record<string, Handler>> = {
  'a listener': { policy: {}, counts: true, share: 1, listen: () => {} },
  'a listener, of a page in quarantine': {
    policy: {},
    counts: true,
    share: 1,
    inQuarantine: true,
    listen: () => {},
  },
  nobody: { policy: {}, counts: false, share: 1, listen: () => {} },
  'a slow for await': {
    policy: {},
    counts: true,
    share: 1,
    listen: (vm) => void readSlowly(vm),
  },
  'decide, at once': asked(() => INJECT),
  'decide, later': asked(async () => {
    await new Promise(setImmediate)
    return INJECT
  }),
  'decide that throws': asked(() => {
    throw new Error('no idea')
  }),
  'decide that never answers': asked(() => new Promise(() => {}), { share: 0.1, decisionTimeoutMs: 1 }),
}

async function readSlowly(vm: Vm): Promise<void> {
  for await (const _ of vm.events()) await sleep(1)
}

/** Counts how often each number was delivered or said to be lost. */
export class Numbers {
  /** Events that were delivered, `events-lost` aside. */
  delivered = 0
  /** Numbers that were said to be lost. */
  lost = 0
  readonly #times: Uint8Array

  constructor(most: number) {
    this.#times = new Uint8Array(most + 1)
  }

  listen(vm: Vm): void {
    for (const type of [
      'memory-failure',
      'state-changed',
      'exit',
      'decision-fallback',
      'decision-late',
      'events-lost',
      'page-state-changed',
      'vcpu-failed',
    ] as const) {
      vm.on(type, (event: VmEvent) => this.#count(event))
    }
  }

  #count(event: VmEvent): void {
    const lost = event.type === 'events-lost'
    const from = lost ? event.fromSeq : event.seq
    for (let seq = from; seq <= event.seq; seq += 1) this.#times[seq] = (this.#times[seq] ?? 0) + 1
    if (lost) this.lost += event.seq - from + 1
    else this.delivered += 1
  }

  /** The numbers up to `last` that were not told once. */
  wrong(last: number): number[] {
    const numbers = Array.from({ length: last }, (_, index) => index + 1)
    return numbers.filter((seq) => this.#times[seq] !== 1)
  }
}
