import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Ajv2020 } from 'ajv/dist/2020.js'
import test, { type ExecutionContext } from 'ava'
import {
  type Decision,
  jsonReplacer,
  type SimulatedStep,
  simulated,
  Vm,
  type VmEvent,
  type VmEvents,
  type VmOptions,
} from 'seawall'
import { allExamples, examples, fullFailure } from './event-examples.ts'
import { type Schema, schemaShape, typeShape } from './event-shapes.ts'

const file = fileURLToPath(import.meta.resolve('seawall/events.schema.json'))
const schema: Schema = JSON.parse(readFileSync(file, 'utf8'))
const ajv = new Ajv2020({ strict: true, strictRequired: true, allErrors: true })
const validate = ajv.compile(schema)

function toJson(event: VmEvent) {
  return JSON.parse(JSON.stringify(event, jsonReplacer))
}

function valid(t: ExecutionContext, event: VmEvent): void {
  t.true(validate(toJson(event)), `${event.type}: ${ajv.errorsText(validate.errors)}`)
}

test('the schema is found by the name that the package gives it', (t) => {
  t.deepEqual(createRequire(import.meta.url)('seawall/events.schema.json'), schema)
  t.is(schema['$schema'], 'https://json-schema.org/draft/2020-12/schema')
  const { files } = createRequire(import.meta.url)('seawall/package.json')
  t.true(files.includes('schema/events.schema.json'))
})

test('the schema has the fields and words of VmEvent, no more and no fewer', (t) => {
  const shape = typeShape(fileURLToPath(new URL('../../dist/events.d.ts', import.meta.url)), 'VmEvent')
  t.true(shape.length > 100)
  t.deepEqual(schemaShape(schema), shape)
  // The reviver goes by names: a name that is 64 bits in one place cannot be a text in another.
  const names = (word: RegExp) =>
    new Set(shape.filter((line) => word.test(line)).map((line) => /(\w+)\??: /.exec(line)?.[1]))
  const texts = names(/: .*(string|")/)
  t.deepEqual(
    [...names(/: .*bigint/)].filter((name) => texts.has(name)),
    [],
  )
})

for (const [type, [full]] of Object.entries(examples)) {
  test(`an example of ${type} is valid, and none of it can be left out, changed or added to`, (t) => {
    valid(t, full)
    for (const broken of mutations(toJson(full))) {
      t.false(validate(broken.event), `${broken.what} passes`)
    }
  })
}

test('every example is valid', (t) => {
  for (const event of allExamples) valid(t, event)
})

/** What may be left out. */
const OPTIONAL = [
  'memory-failure.injection.errno',
  'exit.exit.error',
  'exit.exit.error.syscall',
  'exit.exit.error.errno',
  'decision-fallback.error',
]
/** What holds any text. */
const TEXTS = [
  'memory-failure.vm.id',
  'memory-failure.vm.name',
  'memory-failure.reason',
  'memory-failure.injection.errno',
  'exit.exit.error.message',
  'exit.exit.error.syscall',
  'exit.exit.error.errno',
  'decision-fallback.error',
  'vcpu-failed.error.message',
]
/** What may have a fraction. */
const FRACTIONS = ['memory-failure.deferral.ms', 'decision-late.afterMs']

/** An event with one thing wrong, for each thing there is. */
function* mutations(event: Record<string, unknown>): Generator<{ what: string; event: unknown }> {
  const copy = () => structuredClone(event)
  for (const path of paths(event)) {
    const name = [event['type'], ...path].join('.')
    const at = (root: Record<string, unknown>) =>
      path.slice(0, -1).reduce((object, key) => object[key] as Record<string, unknown>, root)
    const last = path.at(-1) ?? ''
    const change = (what: string, edit: (parent: Record<string, unknown>) => void) => {
      const changed = copy()
      edit(at(changed))
      return { what: `${name} ${what}`, event: changed }
    }
    if (!OPTIONAL.includes(name)) yield change('left out', (parent) => delete parent[last])
    yield change('with something beside it', (parent) => Object.assign(parent, { surplus: 1 }))
    yield change('a list', (parent) => Object.assign(parent, { [last]: [] }))
    const value = at(event)[last]
    if (typeof value === 'string') {
      yield change('a number', (parent) => Object.assign(parent, { [last]: 1 }))
      if (!TEXTS.includes(name))
        yield change('another word', (parent) => Object.assign(parent, { [last]: 'x' }))
      if (value.startsWith('0x') && !TEXTS.includes(name)) {
        for (const wrong of [
          value.slice(2),
          value.toUpperCase(),
          `0x0${value.slice(2)}`,
          `${value}${'0'.repeat(16)}`,
        ])
          yield change(wrong, (parent) => Object.assign(parent, { [last]: wrong }))
      }
    } else if (typeof value !== 'object') {
      yield change('a word', (parent) => Object.assign(parent, { [last]: '1' }))
    }
    if (typeof value === 'number') {
      yield change('too small', (parent) => Object.assign(parent, { [last]: -2 }))
      if (!FRACTIONS.includes(name))
        yield change('no integer', (parent) => Object.assign(parent, { [last]: 1.5 }))
    }
  }
}

function* paths(value: unknown, before: string[] = []): Generator<string[]> {
  if (typeof value !== 'object' || value === null) return
  for (const [key, inner] of Object.entries(value)) {
    yield [...before, key]
    yield* paths(inner, [...before, key])
  }
}

test('what one type has is refused in another', (t) => {
  for (const [type, [full]] of Object.entries(examples)) {
    for (const other of Object.keys(examples)) {
      if (other !== type) t.false(validate({ ...toJson(full), type: other }), `${type} as ${other}`)
    }
  }
  t.false(validate({ ...toJson(fullFailure), schemaVersion: 2 }))
  t.false(validate(null))
  t.false(validate({}))
})

const SEA: SimulatedStep = { step: 'sea', esr: 0x9200_0010n, gpa: 0x8000_0000n }
const POLICY = { threshold: { distinctPages: 1, action: 'report' } } as const
const decide = async (): Promise<Decision> => {
  await setTimeout(50)
  throw new Error('0x10')
}
const RUNS: {
  script: SimulatedStep[][]
  options?: Partial<VmOptions>
  until?: keyof VmEvents
  prepare?: (vm: Vm) => Promise<void>
}[] = [
  {
    script: [
      [
        SEA,
        { ...SEA, esr: 0x8600_0410n, gpa: null, pstate: 0x3c5n },
        { step: 'sea', esr: 0x9600_0055n, gpa: 0x8000_1000n, pstate: 0x3c5n, ignoresInjection: true },
        { step: 'mmio-read', gpa: 0x1000n, size: 8 },
        { step: 'mmio-write', gpa: 0x1000n, data: new Uint8Array(4) },
        { step: 'nisv', gpa: 0x1000n },
        { step: 'reset' },
      ],
    ],
    options: { memoryFailure: POLICY, name: '0x10' },
  },
  { script: [[{ ...SEA, esr: 0x9200_0c10n }]] },
  { script: [[SEA]], options: { memoryFailure: { recoverable: 'stop', quarantine: false } } },
  { script: [[{ step: 'fail', errno: 5 }]] },
  {
    script: [[{ step: 'shutdown' }]],
    prepare: async (vm) => {
      await vm.reportPoison(0x8000_0000n, 4096)
      await vm.replacePage(0x8000_0000n)
    },
  },
  {
    script: [[SEA, { step: 'shutdown' }]],
    options: { memoryFailure: { deferMs: 2, decide: () => ({ action: 'defer' }) } },
  },
  { script: [[SEA, { step: 'shutdown' }]], options: { memoryFailure: { decide } } },
  { script: [[SEA, { step: 'reset' }, { step: 'shutdown' }]], options: { onReset: 'restart' } },
  {
    script: [[SEA, { step: 'spin' }]],
    options: { memoryFailure: { decide, decisionTimeoutMs: 1 } },
    until: 'decision-late',
  },
  {
    script: [
      [{ step: 'refuse-injection', errno: 22 }, { step: 'refuse-register', name: 'pc', errno: 5 }, SEA],
    ],
  },
  { script: [[...Array.from({ length: 6000 }, () => SEA), { step: 'crash' }]] },
]

test('every event of the simulator is valid', async (t) => {
  const seen = new Set<VmEvent['type']>()
  for (const { script, options, until, prepare } of RUNS) {
    const boot = { type: 'flat', image: new Uint8Array(4) } as const
    await using vm = await Vm.create({ memory: 8192, boot, backend: simulated({ script }), ...options })
    const stream = vm.events()
    const told = until && once(vm, until)
    await prepare?.(vm)
    await vm.start()
    await told
    const exit = await (told ? vm.stop() : vm.wait())
    await vm.close()
    for await (const event of stream) {
      seen.add(event.type)
      valid(t, event)
    }
    t.is(exit.error === undefined, exit.reason !== 'failed')
  }
  // A simulated guest reads no error records, so that none can stay unread.
  const told = Object.keys(examples).filter((type) => type !== 'notification-failed')
  t.deepEqual([...seen].sort(), told.sort())
})
