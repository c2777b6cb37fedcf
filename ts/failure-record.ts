import type { Injection, MemoryFailure, MemoryFailureEvent } from './events.ts'
import type { RecordReader } from './record.ts'
import type { Abort } from './syndrome.ts'

type Vm = MemoryFailure['vm']

/** Reads a failure as `decide` sees it. */
export function readFailure(record: RecordReader, { id, name }: Vm): MemoryFailure {
  return {
    seq: record.count(),
    vm: { id, name },
    backend: record.word(),
    vcpu: record.flag() ? record.u32() : null,
    source: record.word(),
    severity: record.word(),
    abort: record.flag() ? readAbort(record) : null,
    signal: record.flag() ? { code: record.word(), lsb: record.u32() } : null,
    gva: record.flag() ? record.u64() : null,
    gpa: record.flag() ? record.u64() : null,
    consumer: record.flag() ? readConsumer(record) : null,
    page: record.flag() ? readPage(record) : null,
  }
}

/** Reads a failure's event. All fields in one literal: to put them together from two would be to make the object twice. */
export function readFailureEvent(record: RecordReader, { id, name }: Vm): MemoryFailureEvent {
  const time = readTime(record)
  const monotonicNs = record.u64()
  return {
    type: 'memory-failure',
    schemaVersion: 1,
    seq: record.count(),
    time,
    monotonicNs,
    backend: record.word(),
    vcpu: record.flag() ? record.u32() : null,
    source: record.word(),
    severity: record.word(),
    abort: record.flag() ? readAbort(record) : null,
    signal: record.flag() ? { code: record.word(), lsb: record.u32() } : null,
    gva: record.flag() ? record.u64() : null,
    gpa: record.flag() ? record.u64() : null,
    consumer: record.flag() ? readConsumer(record) : null,
    page: record.flag() ? readPage(record) : null,
    recipient: record.word(),
    action: record.word(),
    flags: { actionRequired: record.flag(), recursive: record.flag() },
    decidedBy: record.word(),
    reason: record.text(),
    quarantine: record.flag() ? { method: record.word(), granule: record.count() } : null,
    notified: record.flag() ? { source: record.word(), acked: record.flag() ? record.flag() : null } : null,
    deferral: record.flag() ? { retries: record.u32(), ms: record.f64(), outcome: record.word() } : null,
    injection: record.flag() ? readInjection(record) : null,
    ledger: { distinctPages: record.count(), total: record.count() },
    vm: { id, name },
  }
}

function readAbort(record: RecordReader): Abort {
  return {
    kind: record.word(),
    esr: record.u64(),
    exceptionClass: record.u32(),
    faultStatus: record.u32(),
    cause: record.word(),
    walkLevel: record.flag() ? record.f64() : null,
    set: record.word(),
    write: record.flag() ? record.flag() : null,
    cacheMaintenance: record.flag(),
    externalType: record.flag(),
  }
}

function readConsumer(record: RecordReader): NonNullable<MemoryFailure['consumer']> {
  return { mode: record.word(), pc: record.u64(), pstate: record.u64() }
}

function readPage(record: RecordReader): NonNullable<MemoryFailure['page']> {
  return {
    gpa: record.u64(),
    size: record.count(),
    first: record.flag(),
    hits: record.count(),
    state: record.word(),
  }
}

function readInjection(record: RecordReader): Injection {
  const method = record.word<Injection['method']>()
  const esr = record.flag() ? record.u64() : null
  const result = record.word<Injection['result']>()
  return record.flag() ? { method, esr, result, errno: record.text() } : { method, esr, result }
}

/** The last time that was put into words: in a storm many events share a millisecond. */
let lastTime = { milliseconds: Number.NaN, words: '' }

function readTime(record: RecordReader): string {
  const milliseconds = record.count()
  if (milliseconds !== lastTime.milliseconds)
    lastTime = { milliseconds, words: new Date(milliseconds).toISOString() }
  return lastTime.words
}
