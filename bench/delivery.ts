import { EventEmitter } from 'node:events'
import { type MemoryFailureEvent, type SimulatedStep, simulated, Vm, type VmEvent } from 'seawall'
import { type BenchPart, type Measurement, measurement } from './measurement.ts'
import { median, scaled } from './numbers.ts'

const ROUNDS = 25
/** Fewer than the VM keeps for a slow reader. */
const EVENTS = 4000
const PAGE = 0x8010_0000n

/** Events that wait in a VM, to whoever listens. */
export const delivery: BenchPart = {
  name: 'delivery',
  describe:
    `What one memory-failure event costs the JavaScript thread, from the VM's ring to the listener: ${EVENTS} events wait, and ` +
    'are told, 64 in a turn of the event loop. Compared with JavaScript that makes an object of the same fields and nested ' +
    'objects, its bigints read from memory, and passes it to EventEmitter.emit, as many times in a row; the time string is made ' +
    'once for all there.',
  findings: `**Where the time went.** Before, nearly all of it was to make the object through Node-API, a call for every field and one more
for its name.

**Where it goes now.** perf's profile of the JavaScript thread while 4,000 events are told: with \`vm.on\` 36 % are the package's
JavaScript, half of that the object with those inside it; 31 % the addon and its memory, which takes the event from the ring,
writes 22 slots of 8 bytes, and frees what a vCPU's thread allocated; 27 % are Node's and the engine's, with its garbage; 5 % the
kernel's. With \`for await\` that is 38, 25, 31 and 5 %, with the promises and microtasks in the first and the third.

**What limits it.** The reference reads its numbers from an array that is in the processor's cache and makes the object. An event's
are taken from another thread's memory under a lock, written to a buffer and read from it again, and the turn of the event loop
comes on top; the target leaves as much time for all of that as the object takes. \`for await\` adds a queue, a result object and a promise for each
event, which the reference has none of; the loop alone is a row of the table. **Before** was compared with a reference that computed its
bigints, and took more than twice as long.`,
  async run(scale) {
    const events = scaled(EVENTS, scale, 200)
    const rounds = scaled(ROUNDS, scale, 3)
    const took = {
      on: [] as number[],
      stream: [] as number[],
      made: [] as number[],
      bare: [] as number[],
      iterated: [] as number[],
    }
    for (let round = -2; round < rounds; round += 1) {
      const on = await told(events, byListener)
      const stream = await told(events, byStream)
      const made = emitted(events, makeEvent)
      const one = makeEvent(0)
      const bare = emitted(events, () => one)
      const iterated = await iterate(events, one)
      if (round < 0) continue
      took.on.push(on)
      took.stream.push(stream)
      took.made.push(made)
      took.bare.push(bare)
      took.iterated.push(iterated)
    }
    const reference = { name: 'the same object, made and emitted', value: median(took.made) }
    const row = (name: string, values: readonly number[]): Measurement =>
      measurement({ name, value: median(values), unit: 'ns/event', reference, target: 2 })
    return [
      row('vm.on', took.on),
      row('for await', took.stream),
      measurement({
        name: 'for await over an iterator that returns one object',
        value: median(took.iterated),
        unit: 'ns/event',
        note: 'What the language takes for each turn of such a loop, whatever is read.',
      }),
      measurement({
        name: 'EventEmitter.emit of one object that is there already',
        value: median(took.bare),
        unit: 'ns/event',
        note: 'What emit costs alone, for the proportions: all else is the object.',
      }),
    ]
  },
}

/** The event that was told last: the engine may leave out what nobody looks at. */
export let kept: VmEvent | undefined

type Listen = (vm: Vm, events: number) => Promise<void>

const byListener: Listen = (vm, events) =>
  new Promise((resolve) => {
    let left = events
    vm.on('memory-failure', (event) => {
      kept = event
      left -= 1
      if (left === 0) resolve()
    })
  })

const byStream: Listen = async (vm, events) => {
  let left = events
  for await (const event of vm.events()) {
    kept = event
    if (event.type === 'memory-failure') left -= 1
    if (left === 0) return
  }
}

/** Lets events wait in a VM, then has them told; returns nanoseconds per event. */
async function told(events: number, listen: Listen): Promise<number> {
  const touch: SimulatedStep = { step: 'sea', esr: 0x9200_0010n, far: PAGE, gpa: PAGE }
  await using vm = await Vm.create({
    memory: 2 ** 21,
    boot: { type: 'flat', image: new Uint8Array(4) },
    backend: simulated({ script: [[...Array<SimulatedStep>(events).fill(touch), { step: 'spin' }]] }),
    // Each an abort of its own, as of a page that was not lost before.
    memoryFailure: { quarantine: false, sameFaultLimit: events + 1 },
  })
  const all = listen(vm, events)
  const started = vm.start()
  // The event loop stands still until all wait.
  const never = new Int32Array(new SharedArrayBuffer(4))
  while (vm.stats().failures < events) Atomics.wait(never, 0, 0, 1)
  const began = process.hrtime.bigint()
  await all
  const took = Number(process.hrtime.bigint() - began) / events
  await started
  return took
}

/** Emits from JavaScript; returns nanoseconds per event. */
function emitted(events: number, make: (seq: number) => MemoryFailureEvent): number {
  const emitter = new EventEmitter()
  let left = events
  emitter.on('memory-failure', (event: MemoryFailureEvent) => {
    kept = event
    left -= 1
  })
  const began = process.hrtime.bigint()
  for (let seq = 0; seq < events; seq += 1) emitter.emit('memory-failure', make(seq))
  const took = Number(process.hrtime.bigint() - began) / events
  if (left !== 0) throw new Error(`${left} events were not emitted`)
  return took
}

/** Reads one object again and again by `for await`; returns nanoseconds per turn. */
async function iterate(events: number, event: MemoryFailureEvent): Promise<number> {
  let left = events
  const iterator: AsyncIterableIterator<MemoryFailureEvent> = {
    next: () => Promise.resolve({ done: left === 0, value: event }),
    [Symbol.asyncIterator]: () => iterator,
  }
  const began = process.hrtime.bigint()
  for await (const { seq } of iterator) if (seq === event.seq) left -= 1
  return Number(process.hrtime.bigint() - began) / events
}

const TIME = new Date().toISOString()
const VM = { id: 'vm', name: null }
/** How many numbers of 64 bits an event has. */
const WORDS = 8
/** Theirs, at hand as a number of 64 bits can be: to compute a bigint from a number is two more bigints. */
const words = BigUint64Array.from({ length: EVENTS * WORDS }, (_, index) => PAGE + BigInt(index))

function word(seq: number, index: number): bigint {
  return words[seq * WORDS + index] as bigint
}

/** What the guest above is told to have met. */
function makeEvent(seq: number): MemoryFailureEvent {
  return {
    type: 'memory-failure',
    schemaVersion: 1,
    seq,
    time: TIME,
    monotonicNs: word(seq, 0),
    vm: { id: VM.id, name: VM.name },
    backend: 'simulated',
    vcpu: 0,
    source: 'sea',
    severity: 'recoverable',
    abort: {
      kind: 'data',
      esr: word(seq, 1),
      exceptionClass: 0x24,
      faultStatus: 0x10,
      cause: 'external',
      walkLevel: null,
      set: 'uer',
      write: false,
      cacheMaintenance: false,
      externalType: false,
    },
    signal: null,
    gva: word(seq, 2),
    gpa: word(seq, 3),
    consumer: { mode: 'user', pc: word(seq, 4), pstate: word(seq, 5) },
    page: { gpa: word(seq, 6), size: 4096, first: false, hits: seq, state: 'poisoned' },
    recipient: 'guest',
    action: 'inject',
    flags: { actionRequired: true, recursive: false },
    decidedBy: 'policy',
    reason: 'recoverable',
    quarantine: null,
    notified: null,
    deferral: null,
    injection: { method: 'vcpu-events+registers', esr: word(seq, 7), result: 'ok' },
    ledger: { distinctPages: 1, total: seq },
  }
}
