import { type Decision, SeawallError, type SimulatedStep, type Vcpu } from 'seawall'
import {
  ACCESS,
  type Behaviour,
  done,
  EL0,
  EL1,
  exception,
  NO_HURRY_MS,
  oneAbort,
  PAGE,
  PC,
  paused,
  ready,
  sea,
  shutdown,
  stoppedByPolicy,
} from './behaviour.ts'
import { taken, touched } from './quarantine.ts'
import { unclaimedAccess } from './unclaimed-access.ts'

const readTwice: SimulatedStep[][] = [
  [
    ready,
    sea(0x9200_0010n, EL1),
    exception,
    { step: 'sea', esr: 0x9200_0010n, pstate: EL1, pc: PC + 0x40n, far: 0x8010_0030n, gpa: PAGE },
    exception,
    ...done,
  ],
]

const injected = {
  action: 'inject',
  severity: 'recoverable',
  decidedBy: 'policy',
  recipient: 'guest',
} as const
const restored = { method: 'vcpu-events+registers', result: 'ok' } as const
const byKernel = { method: 'vcpu-events', result: 'ok' } as const

/** Every behaviour that KVM and the simulator share. */
export const behaviours: Behaviour[] = [
  ...(
    [
      ['', 'walk-el1', PC],
      [', also where a vector may be', 'walk-aligned-el1', PC & ~0x7fn],
    ] as const
  ).map(
    ([where, guest, pc]): Behaviour => ({
      name: `where the kernel says success and does nothing, the whole entry is made of registers${where}`,
      guest,
      arm: 'fsc=0x1e s1ptw=1',
      script: [
        [
          ready,
          {
            step: 'sea',
            esr: 0x9200_001en,
            pstate: EL1,
            pc,
            far: 0xc000_0010n,
            gpa: null,
            ignoresInjection: true,
          },
          exception,
          ...done,
        ],
      ],
      exit: shutdown,
      failures: [
        {
          ...injected,
          abort: { cause: 'parity-ecc-table-walk', walkLevel: 2 },
          gva: 0xc000_0010n,
          gpa: null,
          injection: { method: 'registers', result: 'ok', esr: 0x9600_001en },
        },
      ],
      exceptions: [{ vector: 0x200n, esr: 0x9600_001en, far: 0xc000_0010n }],
      lines: ['ready', 'done'],
    }),
  ),
  {
    name: 'an abort of an AArch32 application is contained',
    guest: 'read-el0-aarch32',
    arm: 'fsc=0x10 set=3',
    script: oneAbort(sea(0x9200_1810n, 0xd0n)),
    exit: shutdown,
    failures: [
      {
        ...injected,
        consumer: { mode: 'user', pstate: 0xd0n },
        injection: { ...restored, esr: 0x9200_1810n },
      },
    ],
    exceptions: [{ vector: 0x600n, esr: 0x9200_1810n, far: ACCESS, spsr: 0xd0n }],
    lines: ['ready', 'done'],
  },
  {
    name: 'an abort is taken although SErrors are masked',
    guest: 'masked-read-el1',
    arm: 'fsc=0x10',
    script: oneAbort(sea(0x9200_0010n, 0x3c5n)),
    exit: shutdown,
    failures: [{ ...injected, consumer: { mode: 'kernel', pstate: 0x3c5n } }],
    exceptions: [{ vector: 0x200n, esr: 0x9600_0010n, far: ACCESS, spsr: 0x3c5n }],
    lines: ['ready', 'done'],
  },
  {
    name: 'a second hit on a lost page consumes nothing, and aborts again',
    guest: 'read-twice',
    arm: 'fsc=0x10 count=1',
    script: readTwice,
    exit: shutdown,
    failures: [
      { source: 'sea', signal: null, page: { first: true, hits: 1 }, ledger: { distinctPages: 1, total: 1 } },
      {
        ...touched,
        gpa: PAGE,
        page: { first: false, hits: 2, state: 'quarantined' },
        quarantine: taken,
        injection: { ...byKernel, esr: 0x9600_0010n },
        ledger: { distinctPages: 1, total: 2 },
        flags: { recursive: false },
      },
    ],
    exceptions: [{ far: ACCESS }, { esr: 0x9600_0010n, far: 0x8010_0030n }],
    lines: ['ready', 'done'],
  },
  {
    name: 'without the quarantine a second hit consumes the error again',
    guest: 'read-twice',
    arm: 'fsc=0x10',
    script: readTwice,
    options: { memoryFailure: { quarantine: false } },
    exit: shutdown,
    failures: [
      { source: 'sea', quarantine: null, page: { first: true, hits: 1, state: 'poisoned' } },
      { source: 'sea', quarantine: null, page: { first: false, hits: 2, state: 'poisoned' } },
    ],
    exceptions: [{ far: ACCESS }, { far: 0x8010_0030n }],
    lines: ['ready', 'done'],
  },
  {
    name: "a guest's kernel that touches the page at the same instruction again and again stops the VM",
    guest: 'counter',
    arm: 'fsc=0x10 count=1',
    script: [Array.from({ length: 4 }, () => sea(0x9200_0010n, EL1))],
    exit: stoppedByPolicy,
    failures: [
      { source: 'sea', action: 'inject', flags: { recursive: false } },
      { source: 'quarantined-page', action: 'inject', flags: { recursive: true } },
      { source: 'quarantined-page', action: 'inject', flags: { recursive: true } },
      {
        source: 'quarantined-page',
        action: 'stop',
        injection: null,
        reason: "the guest's kernel got this abort 3 times in a row and touched the page again",
      },
    ],
    exceptions: [],
  },
  {
    name: 'a lost page is listed, and nobody reads or writes it',
    guest: 'read-el0',
    arm: 'fsc=0x10',
    script: oneAbort(sea(0x9200_0010n, EL0)),
    act: async (vm) => {
      await vm.wait()
      const [page, ...others] = vm.poisonedPages()
      if (page?.gpa !== PAGE || page.state !== 'quarantined' || page.hits !== 1 || others.length > 0) {
        throw new Error(`the list says ${page?.gpa} ${page?.state} ${page?.hits}`)
      }
      for (const access of [
        () => vm.memory.read(PAGE, 1),
        () => vm.memory.read(PAGE - 1n, 2),
        () => vm.memory.write(PAGE + 0xfffn, new Uint8Array(1)),
      ]) {
        try {
          access()
        } catch (error) {
          if (error instanceof SeawallError && error.code === 'ERR_POISONED_PAGE') continue
          throw error
        }
        throw new Error('a lost page was accessed')
      }
      vm.memory.read(PAGE - 8n, 8)
      vm.memory.read(PAGE + 0x1000n, 8)
    },
    exit: shutdown,
    failures: [{ action: 'inject' }],
    exceptions: [{ esr: 0x9200_0010n }],
    lines: ['done'],
  },
  {
    name: 'with the capability off the kernel makes an SError of the abort, and nothing is reported',
    guest: 'read-el1',
    arm: 'fsc=0x10',
    script: [[ready, sea(0x9200_0010n, EL1), exception, { step: 'shutdown' }]],
    options: { capabilities: { armSeaToUser: false } },
    exit: shutdown,
    failures: [],
    exceptions: [{ vector: 0x380n, esr: 0xbf00_0000n, spsr: EL1 }],
    lines: ['ready'],
  },
  {
    name: 'a paused VM shows its registers, and going on injects the abort that waited',
    guest: 'read-el0',
    arm: 'fsc=0x10 fnv=1 far=0xdeadbeef',
    script: oneAbort(sea(0x9200_0410n, EL0, { far: 0xdead_beefn, gpa: null })),
    options: { memoryFailure: { recoverable: 'pause' } },
    act: async (vm, next) => {
      const failure = await next('memory-failure')
      if (failure.type !== 'memory-failure') throw new Error('unreachable')
      await paused(vm, next)
      const pc = await vm.vcpus[0]?.getRegister('pc')
      if (pc !== failure.consumer?.pc) throw new Error(`pc ${pc} is not where the error was consumed`)
      await vm.resume()
    },
    exit: shutdown,
    failures: [
      { action: 'pause', injection: null, consumer: { mode: 'user' } },
      { action: 'inject', decidedBy: 'policy', injection: { ...restored, esr: 0x9200_0410n } },
    ],
    exceptions: [{ vector: 0x400n, esr: 0x9200_0410n, far: 0n }],
    lines: ['ready', 'done'],
  },
  {
    name: "the kernel's own injection drops FnV, EA and SET and leaves a stale FAR",
    guest: 'read-el1',
    arm: 'fsc=0x10 fnv=1 ea=1 set=3 far=0xdeadbeef',
    script: oneAbort(sea(0x9200_1e10n, EL1, { far: 0xdead_beefn, gpa: null })),
    options: { memoryFailure: { recoverable: 'pause' } },
    act: async (vm, next) => {
      await paused(vm, next)
      const injection = await vm.vcpus[0]?.injectDataAbort({ fidelity: 'kvm' })
      if (injection?.method !== 'vcpu-events') throw new Error(`injected by ${injection?.method}`)
      await vm.resume()
    },
    exit: shutdown,
    failures: [{ action: 'pause', gva: null, abort: { set: 'ueo', externalType: true } }],
    exceptions: [{ esr: 0x9600_0010n, far: 0xdead_beefn }],
    lines: ['ready', 'done'],
  },
  {
    name: 'who resumes decides: another abort, at another address, of another severity',
    guest: 'read-el0',
    arm: 'fsc=0x10',
    script: oneAbort(sea(0x9200_0010n, EL0)),
    options: { memoryFailure: { recoverable: 'pause' } },
    act: async (vm, next) => {
      await paused(vm, next)
      const [failure] = vm.pendingFailures()
      if (failure?.gva !== ACCESS || failure.vm.id !== vm.id) throw new Error('it does not wait')
      const options = { far: 0x1234_5678n, set: 'ueo', write: true, faultStatus: 0x16 } as const
      const injection = await vm.vcpus[0]?.injectDataAbort(options)
      if (injection?.result !== 'ok') throw new Error(`injected: ${injection?.result}`)
      if (vm.pendingFailures().length > 0) throw new Error('it waits on')
      await vm.resume()
    },
    exit: shutdown,
    failures: [{ action: 'pause' }],
    exceptions: [{ vector: 0x400n, esr: 0x9200_1856n, far: 0x1234_5678n }],
    lines: ['done'],
  },
  {
    name: 'who resumes decides: an SError instead of the abort',
    guest: 'read-el1',
    arm: 'fsc=0x10',
    script: [[ready, sea(0x9200_0010n, EL1), exception, { step: 'shutdown' }]],
    options: { memoryFailure: { recoverable: 'pause' } },
    act: async (vm, next) => {
      const { seq } = await next('memory-failure')
      await paused(vm, next)
      await vm.resume({ decisions: new Map([[seq, { action: 'inject-serror', iss: 0x1d1ed }]]) })
    },
    exit: shutdown,
    failures: [
      { action: 'pause' },
      {
        action: 'inject-serror',
        decidedBy: 'decide',
        injection: { method: 'serror', result: 'ok', esr: null },
      },
    ],
    exceptions: [{ vector: 0x380n, esr: 0xbe01_d1edn, spsr: EL1 }],
  },
  {
    name: 'an instruction abort before the first instruction has no address, and the guest goes on from its vector',
    guest: 'spin',
    script: [[ready, { step: 'spin' }]],
    act: async (vm) => void (await vm.stop()),
    prepare: async (vm) => {
      const [vcpu] = vm.vcpus
      await vcpu?.setRegister('vbar_el1', 0x8000_0800n)
      const injection = await vcpu?.injectInstructionAbort()
      const read = (name: string) => vcpu?.getRegister(name)
      const registers = await Promise.all(
        ['pc', 'pstate', 'elr_el1', 'spsr_el1', 'esr_el1', 'far_el1'].map(read),
      )
      const expected = [0x8000_0a00n, 0x3c5n, 0x8000_0000n, 0x3c5n, 0x8600_0410n, 0n]
      if (injection?.method !== 'registers' || registers.some((value, index) => value !== expected[index])) {
        throw new Error(`by ${injection?.method}: ${registers}`)
      }
    },
    exit: { reason: 'requested', vcpu: null },
    failures: [],
    exceptions: [],
  },
  {
    name: 'a data abort and an instruction abort at once are refused, before the first instruction and after an access',
    guest: 'read-el0',
    arm: 'fsc=0x10',
    script: [[ready, sea(0x9200_0010n, EL0), exception, ...done]],
    options: { memoryFailure: { recoverable: 'pause' } },
    prepare: async (vm) => {
      const [vcpu] = vm.vcpus
      if (vcpu === undefined) throw new Error('there is no vCPU')
      const saved = await read(vcpu, ENTRY_REGISTERS)
      await vcpu.injectDataAbort()
      await refusesMore(vcpu)
      // As if nothing had been injected.
      for (const [name, value] of Object.entries(saved)) await vcpu.setRegister(name, value)
    },
    act: async (vm, next) => {
      await paused(vm, next)
      const [vcpu] = vm.vcpus
      if (vcpu === undefined) throw new Error('there is no vCPU')
      await vcpu.injectDataAbort()
      await refusesMore(vcpu)
      await vm.resume()
    },
    exit: shutdown,
    failures: [{ action: 'pause' }],
    exceptions: [{ vector: 0x400n, esr: 0x9200_0010n, far: ACCESS, spsr: EL0 }],
    lines: ['done'],
  },
  {
    name: 'no vCPU is put into EL2, EL3, AArch32 but at EL0, or a reserved mode',
    guest: 'spin',
    script: [[ready, { step: 'spin' }]],
    act: async (vm) => void (await vm.stop()),
    prepare: async (vm) => {
      const [vcpu] = vm.vcpus
      if (vcpu === undefined) throw new Error('there is no vCPU')
      const before = await vcpu.getRegister('pstate')
      for (let mode = 0n; mode < 32n; mode += 1n) {
        // AArch32 EL0 is for the processor to have or not: what is not refused here is KVM's to decide.
        if ([0b00000n, 0b00100n, 0b00101n, 0b10000n].includes(mode)) continue
        await refused(() => vcpu.setRegister('pstate', 0x3c0n | mode), 'ERR_INVALID_OPTION', /for pstate but/)
      }
      if ((await vcpu.getRegister('pstate')) !== before) throw new Error('PSTATE changed')
      for (const pstate of [0x3c4n, 0x3c0n, before]) {
        await vcpu.setRegister('pstate', pstate)
        const found = await vcpu.getRegister('pstate')
        if (found !== pstate) throw new Error(`PSTATE reads ${found} instead of ${pstate}`)
      }
    },
    exit: { reason: 'requested', vcpu: null },
    failures: [],
    exceptions: [],
  },
  {
    name: 'a handler decides while the vCPU waits',
    guest: 'read-el0',
    arm: 'fsc=0x10',
    script: oneAbort(sea(0x9200_0010n, EL0)),
    options: {
      memoryFailure: {
        decisionTimeoutMs: NO_HURRY_MS,
        decide: async ({ consumer }, { vcpu }) => {
          const pc = await vcpu.getRegister('pc')
          return pc === consumer?.pc ? { action: 'inject', abort: 'data' } : { action: 'stop' }
        },
      },
    },
    exit: shutdown,
    failures: [{ action: 'inject', decidedBy: 'decide', injection: { ...byKernel, esr: 0x9200_0010n } }],
    exceptions: [{ vector: 0x400n, esr: 0x9200_0010n, far: ACCESS }],
    lines: ['done'],
  },
  ...(
    [
      ['that rejects', () => Promise.reject(new Error('no idea')), 'rejected', NO_HURRY_MS],
      ['that never answers', () => new Promise<Decision>(() => {}), 'timeout', 100],
      ['that returns nonsense', () => ({ action: 'explode' }) as never, 'invalid', NO_HURRY_MS],
    ] as const
  ).map(
    ([what, decide, reason, decisionTimeoutMs]): Behaviour => ({
      name: `a handler ${what} leaves the decision to the policy`,
      guest: 'read-el0',
      arm: 'fsc=0x10',
      script: oneAbort(sea(0x9200_0010n, EL0)),
      options: { memoryFailure: { decide, decisionTimeoutMs } },
      exit: shutdown,
      failures: [{ action: 'inject', decidedBy: 'fallback', injection: { ...byKernel, esr: 0x9200_0010n } }],
      fallbacks: [reason],
      exceptions: [{ vector: 0x400n, esr: 0x9200_0010n, far: ACCESS }],
      lines: ['ready', 'done'],
    }),
  ),
  ...unclaimedAccess,
  {
    name: 'a guest that runs for ever is stopped',
    guest: 'spin',
    script: [[ready, { step: 'spin' }]],
    act: async (vm) => void (await vm.stop()),
    exit: { reason: 'requested', vcpu: null },
    failures: [],
    exceptions: [],
  },
  {
    name: 'a paused guest goes on and is stopped',
    guest: 'spin',
    script: [[ready, { step: 'spin' }]],
    act: async (vm) => {
      await vm.pause()
      if (vm.state !== 'paused') throw new Error(`paused, and ${vm.state}`)
      await vm.resume()
      await vm.stop()
    },
    exit: { reason: 'requested', vcpu: null },
    failures: [],
    exceptions: [],
  },
  {
    name: 'a reset ends the VM',
    guest: 'reset',
    script: [[ready, { step: 'reset' }]],
    exit: { reason: 'reset', vcpu: 0 },
    failures: [],
    exceptions: [],
    lines: ['ready'],
  },
]

const ENTRY_REGISTERS = ['pc', 'pstate', 'elr_el1', 'spsr_el1', 'esr_el1', 'far_el1']

async function read(vcpu: Vcpu, names: string[]): Promise<Record<string, bigint>> {
  const values = await Promise.all(names.map(async (name) => [name, await vcpu.getRegister(name)] as const))
  return Object.fromEntries(values)
}

/** Every further exception by hand is refused, and changes nothing. */
async function refusesMore(vcpu: Vcpu): Promise<void> {
  const before = await read(vcpu, ENTRY_REGISTERS)
  for (const inject of [
    () => vcpu.injectInstructionAbort(),
    () => vcpu.injectDataAbort(),
    () => vcpu.injectSError(),
  ]) {
    await refused(inject, 'ERR_INVALID_INJECTION', /but received one after an injection$/)
  }
  const after = await read(vcpu, ENTRY_REGISTERS)
  for (const name of ENTRY_REGISTERS) {
    if (after[name] !== before[name]) throw new Error(`${name} was ${before[name]} and is ${after[name]}`)
  }
}

async function refused(operation: () => Promise<unknown>, code: string, message: RegExp): Promise<void> {
  const error = await operation().then(
    () => new Error('it was done'),
    (error: unknown) => error,
  )
  if (!(error instanceof SeawallError) || error.code !== code || !message.test(error.message)) throw error
}
