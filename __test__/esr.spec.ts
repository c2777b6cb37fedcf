import test from 'ava'
import { decodeEsr, formatEsr, SeawallError } from 'seawall'

test('decodeEsr gives the abort and every field', (t) => {
  const syndrome = decodeEsr(0x9200_0610n)
  t.like(syndrome, {
    esr: 0x9200_0610n,
    exceptionClass: 0x24,
    name: 'Data Abort from a lower Exception level',
    il: true,
    abort: {
      kind: 'data',
      cause: 'external',
      faultStatus: 0x10,
      set: 'uer',
      write: false,
      walkLevel: null,
      externalType: true,
      cacheMaintenance: false,
    },
  })
  t.deepEqual(
    syndrome.fields.find((field) => field.name === 'FnV'),
    { name: 'FnV', bits: [10, 10], value: 1n, meaning: 'FAR is not valid' },
  )
})

test('the fields cover all 64 bits, without gaps, and give the value back', (t) => {
  for (const esr of [0n, 2n ** 64n - 1n, 0x9200_0610n, 0x8200_1810n, 0xbe00_0c11n, 0x0123_4567_89ab_cdefn]) {
    let next = 63
    let value = 0n
    for (const { bits, value: field } of decodeEsr(esr).fields) {
      t.is(bits[0], next)
      value |= field << BigInt(bits[1])
      next = bits[1] - 1
    }
    t.is(next, -1)
    t.is(value, esr)
  }
})

test('what is no abort has none', (t) => {
  t.is(decodeEsr(0x5600_0000n).abort, null)
})

test('formatEsr starts with one sentence', (t) => {
  const [sentence, ...fields] = formatEsr(0x9200_0610n).split('\n')
  t.is(
    sentence,
    '0x0000000092000610: Data Abort from a lower Exception level: synchronous external abort, not on translation table walk; severity recoverable (UER), read, FAR not valid',
  )
  t.true(fields.some((line) => /^\s+FnV\s+10\s+1\s+FAR is not valid$/.test(line)))
})

test('only 64 bits decode', (t) => {
  for (const [esr, received] of [
    [0x9200_0610, '2449475088'],
    ['0x92000610', '"0x92000610"'],
    [-1n, '-1n'],
    [2n ** 64n, '18446744073709551616n'],
    [undefined, 'undefined'],
  ] as const) {
    for (const decode of [decodeEsr, formatEsr]) {
      const error = t.throws(() => decode(esr as never), { instanceOf: SeawallError })
      t.is((error as SeawallError).code, 'ERR_INVALID_OPTION')
      t.is(error?.message, `Expected a bigint from 0n to 2n ** 64n - 1n for esr but received ${received}`)
    }
  }
})
