import { type Decide, SeawallError } from 'seawall'
import {
  ACCESS,
  type Behaviour,
  done,
  EL0,
  EL1,
  exception,
  NO_HURRY_MS,
  PAGE,
  paused,
  ready,
  sea,
  shutdown,
} from './behaviour.ts'
import { taken, touched } from './quarantine.ts'

const abort = sea(0x9200_0010n, EL0)
const zero = { step: 'print', text: 'value=0x0000000000000000\n' } as const
const decisionTimeoutMs = NO_HURRY_MS

/** Replaces the page and lets the access run again. */
const replaces =
  (action: 'resume' | 'defer'): Decide =>
  async ({ gpa }, { vm }) => {
    await vm.replacePage(gpa ?? 0n)
    return { action }
  }

/** What is done about lost pages by their owner: both backends share it. */
export const lostPages: Behaviour[] = [
  {
    name: 'an access to a page that was replaced goes on without an abort, and reads what is there now',
    guest: 'read-el0',
    arm: 'fsc=0x10 count=1',
    script: [[ready, abort, { step: 'print', text: 'value=0x00000000005ea1a1\n' }, ...done]],
    options: { memoryFailure: { recoverable: 'pause' } },
    act: async (vm, next) => {
      const { seq } = await next('memory-failure')
      await paused(vm, next)
      await vm.replacePage(ACCESS)
      const changed = await next('page-state-changed')
      if (changed.type !== 'page-state-changed') throw new Error('unreachable')
      const { page, from } = changed
      if (page.gpa !== PAGE || page.state !== 'replaced' || from !== 'quarantined')
        throw new Error(`from ${from} to ${page.state}`)
      if (!vm.memory.read(PAGE, 4096).equals(Buffer.alloc(4096))) throw new Error('it is not zero')
      vm.memory.write(ACCESS, Uint8Array.of(0xa1, 0xa1, 0x5e))
      await vm.resume({ decisions: new Map([[seq, { action: 'resume' }]]) })
    },
    exit: shutdown,
    failures: [
      { action: 'pause', page: { state: 'quarantined' } },
      { action: 'resume', decidedBy: 'decide', injection: null, page: { state: 'replaced' } },
    ],
    exceptions: [],
    lines: ['value=0x00000000005ea1a1', 'done'],
  },
  {
    name: 'a handler replaces the page and lets the access go on',
    guest: 'read-el0',
    arm: 'fsc=0x10 count=1',
    script: [[ready, abort, zero, ...done]],
    options: {
      memoryFailure: {
        decisionTimeoutMs,
        decide: replaces('resume'),
      },
    },
    exit: shutdown,
    failures: [{ action: 'resume', decidedBy: 'decide', injection: null, page: { state: 'replaced' } }],
    exceptions: [],
    lines: ['value=0x0000000000000000', 'done'],
  },
  {
    name: 'nothing is read in the place of a page that nobody replaced',
    guest: 'read-el0',
    arm: 'fsc=0x10 count=1',
    script: [[ready, abort, exception, ...done]],
    options: { memoryFailure: { decisionTimeoutMs, decide: () => ({ action: 'resume' }) } },
    exit: shutdown,
    failures: [{ action: 'inject', decidedBy: 'fallback', injection: { esr: 0x9200_0010n } }],
    fallbacks: ['invalid'],
    exceptions: [{ esr: 0x9200_0010n, far: ACCESS }],
    lines: ['done'],
  },
  {
    name: 'a page that was replaced and is lost again starts anew',
    guest: 'read-el0',
    arm: 'fsc=0x10 count=2',
    script: [[ready, abort, abort, exception, ...done]],
    options: { memoryFailure: { recoverable: 'pause' } },
    act: async (vm, next) => {
      const { seq } = await next('memory-failure')
      await paused(vm, next)
      await vm.replacePage(PAGE)
      await vm.resume({ decisions: new Map([[seq, { action: 'resume' }]]) })
      await next('memory-failure')
      await next('memory-failure')
      await paused(vm, next)
      try {
        vm.memory.read(PAGE, 1)
        throw new Error('it was read')
      } catch (error) {
        if (!(error instanceof SeawallError && error.code === 'ERR_POISONED_PAGE')) throw error
      }
      await vm.resume()
    },
    exit: shutdown,
    failures: [
      { source: 'sea', action: 'pause', page: { first: true, hits: 1 }, quarantine: taken },
      { source: 'sea', action: 'resume' },
      {
        source: 'sea',
        action: 'pause',
        page: { first: true, hits: 2, state: 'quarantined' },
        quarantine: taken,
        ledger: { distinctPages: 1, total: 2 },
      },
      { action: 'inject', decidedBy: 'policy' },
    ],
    exceptions: [{ esr: 0x9200_0010n, far: ACCESS }],
    lines: ['done'],
  },
  {
    name: 'a deferred access gets its abort when the time is over',
    guest: 'read-el1',
    arm: 'fsc=0x10 set=3 count=1',
    script: [[ready, sea(0x9200_1810n, EL1), exception, ...done]],
    options: { memoryFailure: { decisionTimeoutMs, deferMs: 20, decide: () => ({ action: 'defer' }) } },
    exit: shutdown,
    failures: [
      { source: 'sea', action: 'defer', decidedBy: 'decide', injection: null, deferral: null },
      {
        source: 'sea',
        action: 'inject',
        decidedBy: 'decide',
        deferral: { outcome: 'deadline' },
        injection: { method: 'vcpu-events+registers', esr: 0x9600_1810n, result: 'ok' },
        ledger: { distinctPages: 1, total: 1 },
      },
    ],
    exceptions: [{ esr: 0x9600_1810n, far: ACCESS }],
    lines: ['done'],
  },
  {
    name: 'a deferred access that succeeds ends the deferral, and nothing is injected',
    guest: 'read-el0',
    arm: 'fsc=0x10 count=1',
    script: [[ready, abort, zero, ...done]],
    options: {
      memoryFailure: {
        decisionTimeoutMs,
        // Whoever makes the page good meanwhile: here it is the owner.
        decide: replaces('defer'),
      },
    },
    exit: shutdown,
    failures: [
      { action: 'defer', deferral: null },
      { action: 'defer', deferral: { outcome: 'retired' }, injection: null },
    ],
    exceptions: [],
    lines: ['value=0x0000000000000000', 'done'],
  },
  {
    name: 'without time to defer the abort comes at once',
    guest: 'read-el0',
    arm: 'fsc=0x10 count=1',
    script: [[ready, abort, exception, ...done]],
    options: { memoryFailure: { decisionTimeoutMs, deferMs: 0, decide: () => ({ action: 'defer' }) } },
    exit: shutdown,
    failures: [{ action: 'inject', decidedBy: 'decide', deferral: null, injection: { result: 'ok' } }],
    exceptions: [{ esr: 0x9200_0010n }],
    lines: ['done'],
  },
  {
    name: 'a page that its owner reports is out of reach before anybody needs it',
    guest: 'read-el0',
    script: [[ready, abort, exception, ...done]],
    prepare: async (vm) => {
      await vm.reportPoison(PAGE + 8n, 1)
      // It is known now.
      await vm.reportPoison(PAGE, 4096)
    },
    exit: shutdown,
    failures: [
      {
        source: 'reported',
        vcpu: null,
        consumer: null,
        abort: null,
        signal: null,
        gva: null,
        gpa: PAGE,
        recipient: 'guest',
        action: 'ignore',
        severity: 'recoverable',
        flags: { actionRequired: false, recursive: false },
        page: { gpa: PAGE, size: 4096, first: true, hits: 1, state: 'quarantined' },
        quarantine: taken,
        injection: null,
        ledger: { distinctPages: 1, total: 1 },
      },
      { ...touched, page: { first: false, hits: 2 }, quarantine: taken, action: 'inject' },
    ],
    exceptions: [{ far: ACCESS }],
    lines: ['done'],
  },
  {
    name: 'reported pages count for the threshold',
    guest: 'spin',
    script: [[ready, { step: 'spin' }]],
    options: { memoryFailure: { threshold: { distinctPages: 2, action: 'stop' } } },
    act: (vm) => vm.reportPoison(PAGE + 0xfffn, 2),
    exit: { reason: 'policy', vcpu: null },
    failures: [
      { gpa: PAGE, action: 'ignore' },
      { gpa: PAGE + 0x1000n, action: 'stop', reason: 'the guest has lost 2 different pages' },
    ],
    exceptions: [],
  },
]
