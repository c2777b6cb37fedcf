import test from 'ava'
import { jsonReplacer, jsonReviver, SeawallError, type VmEvent } from 'seawall'
import { allExamples, fullFailure } from './event-examples.ts'

/** An event as it comes back: its error is an object, as JSON has no others. */
function withPlainError(event: VmEvent): unknown {
  if (event.type !== 'exit' || event.exit.error === undefined) return event
  const { code, message, syscall, errno } = event.exit.error
  const more = { ...(syscall === undefined ? {} : { syscall }), ...(errno === undefined ? {} : { errno }) }
  return { ...event, exit: { ...event.exit, error: { code, message, ...more } } }
}

for (const [index, event] of allExamples.entries()) {
  test(`${event.type} comes back from JSON as it was (example ${index})`, (t) => {
    const text = JSON.stringify(event, jsonReplacer)
    t.deepEqual(JSON.parse(text, jsonReviver), withPlainError(event))
    t.is(JSON.stringify(JSON.parse(text, jsonReviver), jsonReplacer), text)
  })
}

test('bigints are written in hexadecimal, in their shortest form', (t) => {
  const { gva, gpa, page, monotonicNs } = JSON.parse(JSON.stringify(fullFailure, jsonReplacer))
  t.deepEqual(
    [gva, gpa, page.gpa, monotonicNs],
    ['0xfffffffffffffff8', '0x0', '0x80000000', '0x1b69b4ba630f34e'],
  )
  t.is(JSON.stringify(2n ** 64n - 1n, jsonReplacer), '"0xffffffffffffffff"')
  t.is(JSON.stringify([0n], jsonReplacer), '["0x0"]')
})

test('a bigint that is no 64 bits is refused, not cut', (t) => {
  for (const value of [-1n, 2n ** 64n]) {
    const error = t.throws(() => JSON.stringify({ gpa: value }, jsonReplacer), { instanceOf: SeawallError })
    t.is(error?.code, 'ERR_INVALID_OPTION')
    t.regex(error?.message ?? '', /for gpa but received -?\d+n$/)
  }
})

test.serial('a BigInt.prototype.toJSON of the program changes nothing', (t) => {
  const prototype = BigInt.prototype as { toJSON?: () => string }
  prototype.toJSON = function (this: bigint) {
    return String(this)
  }
  try {
    t.is(JSON.stringify({ page: { gpa: 255n } }, jsonReplacer), '{"page":{"gpa":"0xff"}}')
  } finally {
    delete prototype.toJSON
  }
})

test('the replacer and the reviver work without JSON', (t) => {
  t.is(jsonReplacer('gpa', 16n), '0x10')
  t.is(jsonReviver('gpa', '0x10'), 16n)
})

test('errors keep what programs test, and tell neither stack nor cause', (t) => {
  const error = new SeawallError('ERR_KVM_IOCTL', 'no', {
    syscall: 'KVM_RUN',
    errno: 'EIO',
    cause: new Error('why'),
  })
  t.is(
    JSON.stringify({ error }, jsonReplacer),
    '{"error":{"code":"ERR_KVM_IOCTL","message":"no","syscall":"KVM_RUN","errno":"EIO"}}',
  )
  t.is(
    JSON.stringify(new SeawallError('ERR_INTERNAL', 'x'), jsonReplacer),
    '{"code":"ERR_INTERNAL","message":"x"}',
  )
  t.is(JSON.stringify(new RangeError('x'), jsonReplacer), '{"message":"x"}')
})

test('only the fields of 64 bits become bigints, and only from what the replacer writes', (t) => {
  const words = ['id', 'name', 'reason', 'message', 'value', 'toString', '__proto__', '']
  for (const key of words) t.is(jsonReviver(key, '0x10'), '0x10', key)
  for (const key of ['esr', 'gpa', 'gva', 'monotonicNs', 'pc', 'pstate']) {
    t.is(jsonReviver(key, '0x10'), 16n, key)
    for (const other of ['', '0x', '16', '0X10', '0x1F', '0x01', '-0x1', '0x10 ', `0x1${'0'.repeat(16)}`]) {
      t.is(jsonReviver(key, other), other, `${key}: ${JSON.stringify(other)}`)
    }
    for (const other of [null, 16, true]) t.is(jsonReviver(key, other), other)
  }
})
