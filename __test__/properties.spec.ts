import test from 'ava'
import fc from 'fast-check'
import {
  decodeEsr,
  formatEsr,
  jsonReplacer,
  jsonReviver,
  type SimulatedStep,
  simulated,
  Vm,
  type VmEvent,
} from 'seawall'
import { cases } from './arbitrary/values.ts'
import { examples } from './event-examples.ts'

const RAM = 0x8000_0000n
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })

test('every ESR value is the sum of its fields, which leave no gap', async (t) => {
  const nearAborts = fc.tuple(
    fc.constantFrom(0x20n, 0x21n, 0x24n, 0x25n, 0x2fn),
    fc.bigInt({ min: 0n, max: 2n ** 25n - 1n }),
  )
  const esr = fc.oneof(
    u64,
    nearAborts.map(([exceptionClass, iss]) => (exceptionClass << 26n) | iss),
  )
  const property = fc.property(esr, (value) => {
    const { fields, exceptionClass, abort } = decodeEsr(value)
    let next = 63
    let sum = 0n
    for (const { bits, value: field } of fields) {
      const [high, low] = bits
      if (high !== next || low > high || field >> BigInt(high - low + 1) !== 0n) return false
      sum |= field << BigInt(low)
      next = low - 1
    }
    const isAbort = [0x20, 0x21, 0x24, 0x25].includes(exceptionClass)
    return next === -1 && sum === value && isAbort === (abort !== null) && formatEsr(value).length > 0
  })
  fc.assert(property, cases(3000))
  t.pass()
})

/** Steps that a guest may go on after. */
const step: fc.Arbitrary<SimulatedStep> = fc.oneof(
  fc.record({
    step: fc.constant('sea' as const),
    esr: fc.constantFrom(0x9200_0010n, 0x9200_0050n, 0x8200_0010n, 0x9600_0010n, 0x9200_0410n),
    gpa: fc.option(fc.bigInt({ min: 0n, max: 15n }).map((page) => RAM + page * 4096n)),
    pc: fc.bigInt({ min: 0n, max: 3n }),
    ignoresInjection: fc.boolean(),
  }),
  fc.constant({ step: 'mmio-read' as const, gpa: 0n, size: 4 }),
  fc.constant({ step: 'print' as const, text: 'x' }),
)

async function run(script: SimulatedStep[][], slow: boolean): Promise<[Vm, VmEvent[]]> {
  const vm = await Vm.create({
    memory: 2 ** 20,
    vcpus: script.length,
    boot: { type: 'flat', image: new Uint8Array(4) },
    backend: simulated({ script: script.map((steps) => [...steps, { step: 'spin' }]) }),
  })
  const events: VmEvent[] = []
  for (const type of Object.keys(examples) as VmEvent['type'][])
    vm.on(type, (event: VmEvent) => events.push(event))
  const errors = script.flat().filter(({ step: name }) => name === 'sea').length
  await vm.start()
  while (vm.stats().failures < errors) if (!slow) await new Promise(setImmediate)
  await vm.close()
  return [vm, events]
}

test('each event has its number once, in order, and each error is counted once, whatever the guests do', async (t) => {
  const script = fc.array(fc.array(step, { maxLength: 30 }), { minLength: 1, maxLength: 4 })
  const property = fc.asyncProperty(script, async (steps) => {
    const [vm, events] = await run(steps, false)
    const numbers = events.map(({ seq }) => seq)
    if (numbers.some((seq, index) => seq !== index + 1)) throw new Error(`numbers: ${numbers}`)
    const { delivered, lost, failures } = vm.stats()
    if (lost !== 0n || delivered !== BigInt(numbers.length))
      throw new Error(`${delivered} delivered, ${lost} lost`)
    const told = events.filter((event) => event.type === 'memory-failure')
    if (failures !== BigInt(told.length)) throw new Error(`${failures} failures, ${told.length} told`)
    const totals = told.map(({ ledger }) => ledger.total).sort((a, b) => a - b)
    if (totals.some((total, index) => total !== index + 1)) throw new Error(`totals: ${totals}`)
    const pages = new Set(told.flatMap(({ page }) => (page === null ? [] : [page.gpa])))
    const most = Math.max(0, ...told.map(({ ledger }) => ledger.distinctPages))
    if (most !== pages.size) throw new Error(`${most} pages in the ledger, ${pages.size} told`)
  })
  await fc.assert(property, cases(200))
  t.pass()
})

test('what a slow reader loses is said, and nothing else is lost, whatever the guests do', async (t) => {
  const sea: SimulatedStep = { step: 'sea', esr: 0x9200_0010n, gpa: RAM }
  const property = fc.asyncProperty(
    fc.integer({ min: 3500, max: 6000 }),
    fc.integer({ min: 1, max: 4 }),
    async (errors, vcpus) => {
      const each = Math.ceil(errors / vcpus)
      const steps = Array.from({ length: vcpus }, () => Array<SimulatedStep>(each).fill(sea))
      const [vm, events] = await run(steps, true)
      const numbers = events.flatMap((event) =>
        event.type === 'events-lost'
          ? Array.from({ length: event.toSeq - event.fromSeq + 1 }, (_, index) => event.fromSeq + index)
          : [event.seq],
      )
      if (numbers.some((seq, index) => seq !== index + 1))
        throw new Error('a number is missing, or there twice')
      const { delivered, lost } = vm.stats()
      if (delivered + lost !== BigInt(numbers.length))
        throw new Error(`${delivered} and ${lost} of ${numbers.length}`)
    },
  )
  await fc.assert(property, cases(8))
  t.pass()
})

test('an event is the same after JSON, whatever its numbers are', async (t) => {
  const events = Object.values(examples).flat() as VmEvent[]
  const property = fc.property(fc.constantFrom(...events), fc.infiniteStream(u64), (event, words) => {
    const replaced = replaceWords(event, words) as VmEvent
    const line = JSON.stringify(replaced, jsonReplacer)
    t.deepEqual(JSON.parse(line, jsonReviver), JSON.parse(JSON.stringify(replaced, plain), asBigint))
  })
  fc.assert(property, cases(500))
})

/** The event with other numbers of 64 bits. */
function replaceWords(value: unknown, words: Iterator<bigint>): unknown {
  if (typeof value === 'bigint') return words.next().value
  if (typeof value !== 'object' || value === null || value instanceof Error) return value
  if (Array.isArray(value)) return value.map((inside) => replaceWords(inside, words))
  return Object.fromEntries(
    Object.entries(value).map(([name, inside]) => [name, replaceWords(inside, words)]),
  )
}

const MARK = 'a bigint: '

function plain(_: string, value: unknown): unknown {
  if (value instanceof Error) {
    const { code, message, syscall, errno } = value as NodeJS.ErrnoException
    return { code, message, syscall, errno }
  }
  return typeof value === 'bigint' ? `${MARK}${value}` : value
}

function asBigint(_: string, value: unknown): unknown {
  return typeof value === 'string' && value.startsWith(MARK) ? BigInt(value.slice(MARK.length)) : value
}
