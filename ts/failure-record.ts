import type { Injection, MemoryFailure, MemoryFailureEvent } from './events.ts'
import type { Records } from './record.ts'
import type { Abort } from './syndrome.ts'

type Vm = MemoryFailure['vm']

// The slots of a record, its bytes and its flags, in the order of the enums in crates/napi/src/record.rs.
const BEFORE_AND_FLAGS = 0
const MILLISECONDS = 1
const MONOTONIC_NS = 2
const SEQ = 3
const VCPU_AND_REASON = 7
const ESR = 8
const GVA = 9
const GPA = 10
const PC = 11
const PSTATE = 12
const PAGE_GPA = 13
const PAGE_SIZE = 14
const PAGE_HITS = 15
const GRANULE = 16
const RETRIES = 17
const DEFERRAL_MS = 18
const INJECTED_ESR = 19
const DISTINCT_PAGES = 20
const TOTAL = 21

const BACKEND = 0
const SOURCE = 1
const SEVERITY = 2
const KIND = 3
const CAUSE = 4
const SET = 5
const SIGNAL_CODE = 6
const MODE = 7
const PAGE_STATE = 8
const RECIPIENT = 9
const ACTION = 10
const DECIDED_BY = 11
const QUARANTINE_METHOD = 12
const NOTIFIED_SOURCE = 13
const DEFERRAL_OUTCOME = 14
const INJECTION_METHOD = 15
const INJECTION_RESULT = 16
const EXCEPTION_CLASS = 17
const FAULT_STATUS = 18
const WALK_LEVEL = 19
const LSB = 20

const HAS_VCPU = 1 << 0
const HAS_ABORT = 1 << 1
const HAS_WALK_LEVEL = 1 << 2
const WRITE_KNOWN = 1 << 3
const WRITE = 1 << 4
const CACHE_MAINTENANCE = 1 << 5
const EXTERNAL_TYPE = 1 << 6
const HAS_SIGNAL = 1 << 7
const HAS_GVA = 1 << 8
const HAS_GPA = 1 << 9
const HAS_CONSUMER = 1 << 10
const HAS_PAGE = 1 << 11
const FIRST = 1 << 12
const ACTION_REQUIRED = 1 << 13
const RECURSIVE = 1 << 14
const HAS_QUARANTINE = 1 << 15
const HAS_NOTIFIED = 1 << 16
const ACKED_KNOWN = 1 << 17
const ACKED = 1 << 18
const HAS_DEFERRAL = 1 << 19
const HAS_INJECTION = 1 << 20
const HAS_INJECTED_ESR = 1 << 21
const HAS_ERRNO = 1 << 22

/** How many other events came before the failure's. */
export function othersBefore(record: Records): number {
  return record.low(BEFORE_AND_FLAGS)
}

/** Reads a failure as `decide` sees it. */
export function readFailure(record: Records, { id, name }: Vm): MemoryFailure {
  const flags = record.high(BEFORE_AND_FLAGS)
  return {
    seq: record.count(SEQ),
    vm: { id, name },
    backend: record.word(BACKEND),
    vcpu: flags & HAS_VCPU ? record.low(VCPU_AND_REASON) : null,
    source: record.word(SOURCE),
    severity: record.word(SEVERITY),
    abort: flags & HAS_ABORT ? readAbort(record, flags) : null,
    signal: flags & HAS_SIGNAL ? { code: record.word(SIGNAL_CODE), lsb: record.byte(LSB) } : null,
    gva: flags & HAS_GVA ? record.big(GVA) : null,
    gpa: flags & HAS_GPA ? record.big(GPA) : null,
    consumer: flags & HAS_CONSUMER ? readConsumer(record) : null,
    page: flags & HAS_PAGE ? readPage(record, flags) : null,
  }
}

/** Reads a failure's event. All fields in one literal: to put them together from two would be to make the object twice. */
export function readFailureEvent(record: Records, { id, name }: Vm): MemoryFailureEvent {
  const flags = record.high(BEFORE_AND_FLAGS)
  return {
    type: 'memory-failure',
    schemaVersion: 1,
    seq: record.count(SEQ),
    time: timeWords(record.float(MILLISECONDS)),
    monotonicNs: record.big(MONOTONIC_NS),
    backend: record.word(BACKEND),
    vcpu: flags & HAS_VCPU ? record.low(VCPU_AND_REASON) : null,
    source: record.word(SOURCE),
    severity: record.word(SEVERITY),
    abort: flags & HAS_ABORT ? readAbort(record, flags) : null,
    signal: flags & HAS_SIGNAL ? { code: record.word(SIGNAL_CODE), lsb: record.byte(LSB) } : null,
    gva: flags & HAS_GVA ? record.big(GVA) : null,
    gpa: flags & HAS_GPA ? record.big(GPA) : null,
    consumer: flags & HAS_CONSUMER ? readConsumer(record) : null,
    page: flags & HAS_PAGE ? readPage(record, flags) : null,
    recipient: record.word(RECIPIENT),
    action: record.word(ACTION),
    flags: { actionRequired: (flags & ACTION_REQUIRED) !== 0, recursive: (flags & RECURSIVE) !== 0 },
    decidedBy: record.word(DECIDED_BY),
    reason: record.text(record.high(VCPU_AND_REASON)),
    quarantine:
      flags & HAS_QUARANTINE
        ? { method: record.word(QUARANTINE_METHOD), granule: record.count(GRANULE) }
        : null,
    notified: flags & HAS_NOTIFIED ? readNotified(record, flags) : null,
    deferral: flags & HAS_DEFERRAL ? readDeferral(record) : null,
    injection: flags & HAS_INJECTION ? readInjection(record, flags) : null,
    ledger: { distinctPages: record.count(DISTINCT_PAGES), total: record.count(TOTAL) },
    vm: { id, name },
  }
}

/** Reads the abort, where there is one. */
export function readAbortOnly(record: Records): Abort | null {
  const flags = record.high(BEFORE_AND_FLAGS)
  return flags & HAS_ABORT ? readAbort(record, flags) : null
}

function readAbort(record: Records, flags: number): Abort {
  return {
    kind: record.word(KIND),
    esr: record.big(ESR),
    exceptionClass: record.byte(EXCEPTION_CLASS),
    faultStatus: record.byte(FAULT_STATUS),
    cause: record.word(CAUSE),
    walkLevel: flags & HAS_WALK_LEVEL ? record.byte(WALK_LEVEL) - 1 : null,
    set: record.word(SET),
    write: flags & WRITE_KNOWN ? (flags & WRITE) !== 0 : null,
    cacheMaintenance: (flags & CACHE_MAINTENANCE) !== 0,
    externalType: (flags & EXTERNAL_TYPE) !== 0,
  }
}

function readConsumer(record: Records): NonNullable<MemoryFailure['consumer']> {
  return { mode: record.word(MODE), pc: record.big(PC), pstate: record.big(PSTATE) }
}

function readPage(record: Records, flags: number): NonNullable<MemoryFailure['page']> {
  return {
    gpa: record.big(PAGE_GPA),
    size: record.count(PAGE_SIZE),
    first: (flags & FIRST) !== 0,
    hits: record.count(PAGE_HITS),
    state: record.word(PAGE_STATE),
  }
}

function readNotified(record: Records, flags: number): NonNullable<MemoryFailureEvent['notified']> {
  const acked = flags & ACKED_KNOWN ? (flags & ACKED) !== 0 : null
  return { source: record.word(NOTIFIED_SOURCE), acked }
}

function readDeferral(record: Records): NonNullable<MemoryFailureEvent['deferral']> {
  return {
    retries: record.low(RETRIES),
    ms: record.float(DEFERRAL_MS),
    outcome: record.word(DEFERRAL_OUTCOME),
  }
}

function readInjection(record: Records, flags: number): Injection {
  const method: Injection['method'] = record.word(INJECTION_METHOD)
  const esr = flags & HAS_INJECTED_ESR ? record.big(INJECTED_ESR) : null
  const result: Injection['result'] = record.word(INJECTION_RESULT)
  return flags & HAS_ERRNO ? { method, esr, result, errno: record.textBeside() } : { method, esr, result }
}

/** The last time that was put into words: in a storm many events share a millisecond. */
let lastMilliseconds = Number.NaN
let lastWords = ''

function timeWords(milliseconds: number): string {
  if (milliseconds !== lastMilliseconds) {
    lastMilliseconds = milliseconds
    lastWords = new Date(milliseconds).toISOString()
  }
  return lastWords
}
