import type { SimulatedStep, Vm } from 'seawall'
import {
  access,
  type Behaviour,
  done,
  EL1,
  exception,
  oneAbort,
  PAGE,
  paused,
  ready,
  sea,
  shutdown,
} from './behaviour.ts'

// What KVM's own selftests show of aborts and SErrors, as far as the tables do not show it anyway: README.md says which
// case is shown where.

/** All exceptions masked, as a vCPU begins. */
const MASKED = 0x3c5n
const HOLE = 0x1000_0000n
/** IDS and an ISS that says nothing: what the selftests make pending. */
const SERROR_ISS = 0x0101_d1ed
const SERROR_ESR = 0xbf01_d1edn
const isr: SimulatedStep = { step: 'print', text: 'isr=0x0000000000000100\n' }
/** ISR_EL1.A: an SError is pending. */
const ISR_A = 'isr=0x0000000000000100'
/** SCTLR2_EL1.EASE. */
const EASE = 1n << 5n

const unmask: SimulatedStep = { step: 'set-register', name: 'pstate', value: EL1 }
const pend = async (vm: Vm) => void (await vm.vcpus[0]?.injectSError({ iss: SERROR_ISS }))

export const selftests: Behaviour[] = [
  {
    name: 'without the capability an access without a syndrome is an error of KVM_RUN, and no abort',
    guest: 'nisv',
    script: [[ready, { step: 'nisv', gpa: HOLE, iss: 5n }, exception, ...done]],
    options: { capabilities: { armNisvToUser: false } },
    exit: {
      reason: 'failed',
      vcpu: 0,
      error: { name: 'SeawallError', code: 'ERR_KVM_IOCTL', message: 'KVM_RUN failed with ENOSYS' },
    },
    failures: [],
    exceptions: [],
    lines: ['ready'],
  },
  {
    name: 'a fetch from where nothing is gets an instruction abort from KVM itself, without an exit',
    guest: 'fetch-hole',
    script: [
      [
        ready,
        { step: 'print', text: `access=0x${HOLE.toString(16).padStart(16, '0')}\n` },
        { step: 'kernel-abort', esr: 0x8200_0010n, far: HOLE, pc: HOLE, pstate: MASKED },
        exception,
        ...done,
      ],
    ],
    exit: shutdown,
    failures: [],
    exceptions: [{ vector: 0x200n, esr: 0x8600_0010n, far: HOLE, spsr: MASKED }],
    lines: ['ready', 'done'],
  },
  {
    name: 'a table walk through where nothing is gets an abort with its level from KVM itself, without an exit',
    guest: 'walk-hole',
    script: [
      [
        ready,
        access,
        { step: 'kernel-abort', esr: 0x9200_0016n, far: 0xc000_0010n, pstate: EL1 },
        exception,
        ...done,
      ],
    ],
    exit: shutdown,
    failures: [],
    exceptions: [{ vector: 0x200n, esr: 0x9600_0016n, far: 0xc000_0010n, spsr: EL1 }],
    lines: ['ready', 'done'],
  },
  {
    name: 'the gva is the very address that the guest used, the gpa the page that it means',
    guest: 'read-mapped-el1',
    arm: 'fsc=0x10',
    script: oneAbort(sea(0x9200_0010n, EL1, { far: 0xc010_0badn })),
    exit: shutdown,
    failures: [{ gva: 0xc010_0badn, gpa: PAGE, page: { gpa: PAGE, size: 4096 } }],
    exceptions: [{ vector: 0x200n, esr: 0x9600_0010n, far: 0xc010_0badn }],
    lines: ['ready', 'done'],
  },
  {
    name: 'an SError that is pending before the first instruction is taken when the guest unmasks it',
    guest: 'serror-pending',
    prepare: pend,
    script: [[ready, isr, unmask, exception, { step: 'shutdown' }]],
    exit: shutdown,
    failures: [],
    exceptions: [{ vector: 0x380n, esr: SERROR_ESR, spsr: EL1 }],
    lines: ['ready', ISR_A],
  },
  {
    name: 'an SError that the guest never unmasks stays pending',
    guest: 'masked-read-el1',
    prepare: pend,
    // Had it been taken, its syndrome would be here.
    script: [[ready, { step: 'print', text: 'value={esr_el1}\n' }, isr, ...done]],
    exit: shutdown,
    failures: [],
    exceptions: [],
    lines: ['ready', 'value=0x0000000000000000', ISR_A, 'done'],
  },
  {
    name: 'an abort is taken before an SError that is pending and masked, and that comes next',
    guest: 'serror-pending',
    arm: 'fsc=0x10',
    prepare: pend,
    script: [[ready, sea(0x9200_0010n, MASKED), exception, isr, unmask, exception, { step: 'shutdown' }]],
    exit: shutdown,
    failures: [{ action: 'inject', consumer: { mode: 'kernel', pstate: MASKED } }],
    exceptions: [
      { vector: 0x200n, esr: 0x9600_0010n, spsr: MASKED },
      { vector: 0x380n, esr: SERROR_ESR, spsr: EL1 },
    ],
    lines: ['ready', ISR_A],
  },
  {
    name: 'an SError that is injected while it is not masked is taken at once',
    guest: 'read-el1',
    arm: 'fsc=0x10',
    script: [[ready, sea(0x9200_0010n, EL1), exception, { step: 'shutdown' }]],
    options: { memoryFailure: { recoverable: 'pause' } },
    act: async (vm, next) => {
      await paused(vm, next)
      const read = async (name: string) => (await vm.vcpus[0]?.getRegister(name)) ?? 0n
      const vbar = await read('vbar_el1')
      await pend(vm)
      const [pc, esr] = [await read('pc'), await read('esr_el1')]
      if (pc !== vbar + 0x380n || esr !== SERROR_ESR) throw new Error(`pc ${pc}, esr ${esr}`)
      await vm.resume()
    },
    exit: shutdown,
    failures: [{ action: 'pause' }],
    exceptions: [{ vector: 0x380n, esr: SERROR_ESR, spsr: EL1 }],
    lines: ['ready'],
  },
  {
    name: 'whoever stopped at an access to where nothing is can inject the abort of that very access',
    guest: 'mmio-hole',
    script: [[ready, { step: 'mmio-read', gpa: HOLE, size: 8 }]],
    options: { unclaimedAccess: 'stop' },
    act: async (vm) => {
      await vm.wait()
      const read = async (name: string) => (await vm.vcpus[0]?.getRegister(name)) ?? 0n
      const [pc, x0] = [await read('pc'), await read('x0')]
      const injection = await vm.vcpus[0]?.injectDataAbort()
      const found = [await read('elr_el1'), await read('esr_el1'), await read('far_el1'), await read('x0')]
      const expected = [pc, 0x9600_0010n, HOLE, x0]
      if (injection?.result !== 'ok' || found.some((value, index) => value !== expected[index])) {
        throw new Error(`Expected ${expected} but received ${found}`)
      }
    },
    exit: { reason: 'policy', vcpu: 0 },
    failures: [],
    unclaimed: [{ kind: 'mmio', action: 'stop' }],
    exceptions: [],
    lines: ['ready'],
  },
]

/** SCTLR2_EL1.EASE, which few processors have. */
export const ease: { byOwner: Behaviour; byGuest: Behaviour } = {
  byOwner: {
    name: 'with EASE set by the owner of the VM an abort is taken at the SError vector',
    guest: 'read-el1',
    arm: 'fsc=0x10',
    script: [
      [
        { step: 'set-register', name: 'sctlr2_el1', value: 0n },
        ready,
        sea(0x9200_0010n, EL1),
        exception,
        ...done,
      ],
    ],
    options: { memoryFailure: { recoverable: 'pause' } },
    act: async (vm, next) => {
      await paused(vm, next)
      await vm.vcpus[0]?.setRegister('sctlr2_el1', EASE)
      await vm.resume()
    },
    exit: shutdown,
    failures: [{ action: 'pause' }, { action: 'inject' }],
    exceptions: [{ vector: 0x380n, esr: 0x9600_0010n, spsr: EL1 }],
    lines: ['ready', 'done'],
  },
  byGuest: {
    name: 'with EASE set by the guest an abort is taken at the SError vector',
    guest: 'ease-read-el1',
    arm: 'fsc=0x10',
    script: [
      [
        { step: 'set-register', name: 'sctlr2_el1', value: EASE },
        ...(oneAbort(sea(0x9200_0010n, EL1))[0] ?? []),
      ],
    ],
    exit: shutdown,
    failures: [{ action: 'inject' }],
    exceptions: [{ vector: 0x380n, esr: 0x9600_0010n, spsr: EL1 }],
    lines: ['ready', 'done'],
  },
}
