import { SeawallError, type VmEvent } from 'seawall'

/** The event of a type. */
type EventOf<Type extends VmEvent['type']> = Extract<VmEvent, { type: Type }>

/** With every property that may be absent or `null` filled in: a new one is an error here until its example has it. */
type Full<T> = T extends Error | string | number | bigint | boolean
  ? T
  : { [Key in keyof T]-?: Full<NonNullable<T[Key]>> }

const base = {
  schemaVersion: 1,
  seq: 7,
  time: '2026-01-02T03:04:05.678Z',
  monotonicNs: 123_456_789_012_345_678n,
} as const

const failure: Full<EventOf<'memory-failure'>> = {
  ...base,
  type: 'memory-failure',
  // Words of the owner that look like numbers, and stay words.
  vm: { id: '0x10', name: '0xdeadbeef' },
  backend: 'kvm',
  vcpu: 511,
  source: 'sea',
  severity: 'recoverable',
  abort: {
    kind: 'data',
    esr: 0x9200_0610n,
    exceptionClass: 0x24,
    faultStatus: 0x10,
    cause: 'external-table-walk',
    walkLevel: -1,
    set: 'uer',
    write: false,
    cacheMaintenance: false,
    externalType: true,
  },
  signal: { code: 'BUS_MCEERR_AR', lsb: 12 },
  gva: 0xffff_ffff_ffff_fff8n,
  gpa: 0n,
  consumer: { mode: 'user', pc: 0xffff_8000_0000_1234n, pstate: 0x8000_0000n },
  page: { gpa: 0x8000_0000n, size: 4096, first: true, hits: 1, state: 'quarantined' },
  recipient: 'guest',
  action: 'inject',
  flags: { actionRequired: true, recursive: false },
  decidedBy: 'policy',
  reason: '0x1',
  quarantine: { method: 'userfaultfd', granule: 4096 },
  notified: { source: 'sea', acked: true },
  deferral: { retries: 3, ms: 1.5, outcome: 'deadline' },
  injection: { method: 'registers', esr: 2n ** 64n - 1n, result: 'ok', errno: 'EINVAL' },
  ledger: { distinctPages: 1, total: 1 },
}

/** Every type of event: one with all that it can have, then ones that have as little as they can. */
export const examples: {
  [Type in VmEvent['type']]: [full: Full<EventOf<Type>>, ...less: EventOf<Type>[]]
} = {
  'memory-failure': [
    failure,
    {
      ...failure,
      vm: { id: 'a', name: null },
      vcpu: null,
      abort: null,
      signal: null,
      gva: null,
      gpa: null,
      consumer: null,
      page: null,
      quarantine: null,
      notified: null,
      deferral: null,
      injection: null,
    },
    {
      ...failure,
      abort: { ...failure.abort, walkLevel: null, write: null },
      notified: { source: 'gsiv', acked: null },
      injection: { method: 'none', esr: null, result: 'error' },
    },
    // Redacted.
    { ...failure, gva: null, consumer: { mode: 'kernel', pc: null, pstate: null } },
  ],
  'state-changed': [{ ...base, type: 'state-changed', from: 'running', to: 'paused' }],
  exit: [
    {
      ...base,
      type: 'exit',
      exit: {
        reason: 'failed',
        vcpu: 0,
        error: new SeawallError('ERR_KVM_IOCTL', 'KVM_RUN failed', {
          syscall: 'KVM_RUN',
          errno: 'EIO',
          cause: new Error('why'),
        }),
      },
    },
    {
      ...base,
      type: 'exit',
      exit: { reason: 'failed', vcpu: 0, error: new SeawallError('ERR_INTERNAL', 'x') },
    },
    { ...base, type: 'exit', exit: { reason: 'requested', vcpu: null } },
  ],
  'unclaimed-access': [
    { ...base, type: 'unclaimed-access', vcpu: 1, kind: 'mmio', gpa: 0x1000n, write: true, action: 'abort' },
    { ...base, type: 'unclaimed-access', vcpu: 1, kind: 'nisv', gpa: 0x1000n, write: null, action: 'stop' },
  ],
  'page-state-changed': [
    {
      ...base,
      type: 'page-state-changed',
      from: 'poisoned',
      page: {
        gpa: 0x4_0000_0000n,
        size: 2 ** 30,
        state: 'replaced',
        hits: 2,
        firstSeen: base.time,
        source: 'sigbus-ao',
      },
    },
  ],
  'poison-threshold-reached': [
    { ...base, type: 'poison-threshold-reached', distinctPages: 4, action: 'report' },
  ],
  'notification-failed': [
    { ...base, type: 'notification-failed', source: 'gsiv', reason: 'unread' },
    { ...base, type: 'notification-failed', source: 'sea', reason: 'lost' },
  ],
  'decision-fallback': [
    { ...base, type: 'decision-fallback', failure: 6, reason: 'threw', error: '0x10' },
    { ...base, type: 'decision-fallback', failure: 6, reason: 'timeout' },
  ],
  'decision-late': [{ ...base, type: 'decision-late', failure: 6, afterMs: 100.5 }],
  'guest-reset': [{ ...base, type: 'guest-reset' }],
  'events-lost': [{ ...base, type: 'events-lost', fromSeq: 1, toSeq: 7 }],
  'vcpu-failed': [
    { ...base, type: 'vcpu-failed', vcpu: 1, error: { code: 'ERR_KVM_IOCTL', message: '0xbad' } },
  ],
}

/** All of them. */
export const allExamples: VmEvent[] = Object.values(examples).flat()

/** The one that has everything a memory failure can have. */
export const fullFailure = failure
