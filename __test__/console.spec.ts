import { once } from 'node:events'
import { type Duplex, Writable } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { setTimeout } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import test from 'ava'
import { type SimulatedStep, simulated, Vm } from 'seawall'

const MIB = 2 ** 20
const UART = 0x4000_2000n
const LSR = UART + 5n

/** A guest that polls for input, and then reports bytes that it receives. */
const RECEIVES: SimulatedStep[] = [
  { step: 'mmio-read', gpa: LSR, size: 1 },
  { step: 'mmio-read', gpa: LSR, size: 1 },
]
const REPORT_BYTE: SimulatedStep[] = [
  { step: 'mmio-read', gpa: UART, size: 1 },
  { step: 'print', text: '{x0}' },
]

function create(steps: SimulatedStep[]): Promise<Vm> {
  const boot = { type: 'flat', image: new Uint8Array(4) } as const
  return Vm.create({ memory: 4096, boot, backend: simulated({ script: [steps] }) })
}

/** Steps that print so many bytes, each the low digit of how many there were before. */
function print(bytes: number): SimulatedStep[] {
  return [{ step: 'print', text: '0123456789'.repeat(Math.ceil(bytes / 10)).slice(0, bytes) }]
}

/** Bytes without a period that a lost piece could hide in. */
function noise(length: number): Buffer {
  let state = 1
  return Buffer.from(
    Array.from({ length }, () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      return state >>> 24
    }),
  )
}

/** What a guest of REPORT_BYTE said that it received. */
function reported(console: string): Buffer {
  return Buffer.from((console.match(/.{18}/g) ?? []).map((value) => Number(value)))
}

function write(vm: Vm, chunk: Uint8Array | string): Promise<unknown> {
  return new Promise((resolve) => vm.console.write(chunk, (error) => resolve(error ?? null)))
}

/** Waits until the guest has printed so much, without reading any of it. */
async function printed(vm: Vm, bytes: number): Promise<void> {
  while (vm.stats().exits['mmio'] !== BigInt(bytes)) await setTimeout(1)
}

test('what is written before the VM runs reaches the guest', async (t) => {
  const input = noise(200)
  const vm = await create([
    ...RECEIVES,
    ...Array(input.length).fill(REPORT_BYTE).flat(),
    { step: 'shutdown' },
  ])
  t.is(await write(vm, input.subarray(0, 100)), null)
  t.is(await write(vm, input.subarray(100)), null)
  const output = text(vm.console)
  await vm.start()
  await vm.wait()
  await vm.close()
  t.deepEqual(reported(await output), input)
})

interface Uart {
  state: string
  consoleInput?(input: Uint8Array): number
  consoleInputRoom?(): number
  takeConsole?(): Uint8Array
  releaseConsole?(): void
}

/** Makes the console of a VM that is not there. */
async function consoleOf(uart: Uart): Promise<Duplex & { sendMore(): void }> {
  const { Console } = await import(pathToFileURL('dist/console.js').href)
  return new Console(uart)
}

/** A UART that has room for 1000 bytes, and for more when the guest has taken them; `take` is what the guest does. */
class SlowUart implements Uart {
  state = 'running'
  readonly taken: Buffer[] = []
  /** How many bytes it was handed each time. */
  readonly handed: number[] = []
  #waiting = Buffer.alloc(0)

  consoleInput(input: Uint8Array): number {
    const room = Math.min(input.length, 1000 - this.#waiting.length)
    this.#waiting = Buffer.concat([this.#waiting, input.subarray(0, room)])
    if (room > 0) this.handed.push(room)
    return room
  }

  consoleInputRoom(): number {
    return this.#waiting.length === 0 ? 1000 : 0
  }

  take(count: number): void {
    this.taken.push(this.#waiting.subarray(0, count))
    this.#waiting = this.#waiting.subarray(count)
  }
}

test('input is handed over as the guest makes room, in order, and drain says when there is room for more', async (t) => {
  const uart = new SlowUart()
  const console = await consoleOf(uart)
  const input = noise(100_000)
  let written = 0
  let drains = 0
  console.on('drain', () => {
    drains += 1
  })
  for (let at = 0; at < input.length; at += 20_000) {
    const more = console.write(input.subarray(at, at + 20_000), () => {
      written += 1
    })
    t.is(more, at + 20_000 < 64 * 1024, `${at}`)
  }
  t.deepEqual([written, drains, uart.handed], [0, 0, [1000]])
  for (let count = 1; count < 100; count += 1) {
    uart.take(700)
    console.sendMore()
    await setTimeout(1)
    uart.take(300)
    console.sendMore()
    console.sendMore()
    t.is(uart.handed.length, count, 'the guest is left alone for a moment')
    while (uart.handed.length === count) await setTimeout(1)
    t.true(written <= Math.floor((count + 1) / 20), 'not before it was handed over')
  }
  uart.take(1000)
  t.deepEqual([written, drains], [5, 1])
  t.deepEqual(uart.handed, Array(100).fill(1000))
  t.true(Buffer.concat(uart.taken).equals(input))
})

test.serial('a guest that was slow to take its input is left alone as long', async (t) => {
  const uart = new SlowUart()
  const console = await consoleOf(uart)
  console.write(noise(2000))
  const sent = performance.now()
  await setTimeout(100)
  uart.take(1000)
  const taken = performance.now()
  console.sendMore()
  while (uart.handed.length === 1) await setTimeout(1)
  // Timers are in whole milliseconds.
  t.true(performance.now() - taken > taken - sent - 2)
})

test('a guest that prints all the time leaves the event loop to everybody else', async (t) => {
  const console = await consoleOf({
    state: 'running',
    takeConsole: () => Buffer.from('x'),
    releaseConsole: () => {},
  })
  let read = 0
  console.on('data', () => {
    read += 1
  })
  while (read < 10) await setTimeout(1)
  console.destroy()
  t.true(console.destroyed)
})

test('a guest that reads nothing is back-pressure, and holds nobody up', async (t) => {
  const vm = await create([{ step: 'spin' }])
  vm.console.on('drain', () => t.fail('nothing was taken'))
  const results: unknown[] = []
  const chunk = Buffer.alloc(40_000)
  t.true(vm.console.write(chunk, (error) => results.push(error ?? null)))
  t.false(vm.console.write(chunk, (error) => results.push(error ?? null)))
  await vm.start()
  await vm.pause()
  t.deepEqual(results, [])
  const finished = once(vm.console, 'finish')
  vm.console.removeAllListeners('drain')
  await vm.close()
  await finished
  t.deepEqual(results, [null, null], 'what a guest does not take is no error')
  t.is(vm.console.writableLength, 0)
})

test('input for a VM that has ended goes nowhere, and is no error', async (t) => {
  const vm = await create([{ step: 'shutdown' }])
  const early = write(vm, noise(1000))
  await vm.start()
  await vm.wait()
  t.is(await early, null)
  t.is(await write(vm, noise(1000)), null)
  await vm.close()
  t.true(vm.console.writableEnded)
})

test('output that nobody reads does not pile up in Node, and the newest of it is there at the end', async (t) => {
  const bytes = 2 * MIB + 5
  const vm = await create([...print(bytes), { step: 'shutdown' }])
  await vm.start()
  await vm.wait()
  t.is(vm.console.readableLength, 0)
  t.is(vm.stats().consoleBytesLost, BigInt(bytes - MIB))
  await vm.close()
  const output = await buffer(vm.console)
  t.is(output.length, MIB)
  t.is(output.at(-1), '0'.charCodeAt(0) + ((bytes - 1) % 10))
  t.is(vm.stats().consoleBytesLost, BigInt(bytes - MIB))
})

test('a slow reader is given what it asks for, and of a guest that does not wait for it the newest are lost', async (t) => {
  const bytes = 2 * MIB + 300_000
  const vm = await create([...print(bytes), { step: 'shutdown' }])
  t.is(vm.console.read(), null)
  await vm.start()
  await vm.wait()
  t.true(vm.console.readableLength < 128 * 1024, `${vm.console.readableLength}`)
  t.true(vm.stats().consoleBytesLost > 0n)
  await vm.close()
  const output = await buffer(vm.console)
  t.is(output.length + Number(vm.stats().consoleBytesLost), bytes)
  t.true(output.length >= 2 * MIB)
  // Without a gap, from the first byte on.
  for (let at = 0; at < output.length; at += 9973) t.is(output[at], '0'.charCodeAt(0) + (at % 10))
})

test('a slow writable at the end of a pipe gets everything', async (t) => {
  const bytes = 500_000
  const vm = await create([...print(bytes), { step: 'shutdown' }])
  const chunks: Buffer[] = []
  let most = 0
  const slow = new Writable({
    highWaterMark: 1000,
    write(chunk: Buffer, _, callback) {
      most = Math.max(most, vm.console.readableLength)
      chunks.push(chunk)
      setImmediate(callback)
    },
  })
  const piped = pipeline(vm.console, slow, { end: true })
  await vm.start()
  await vm.wait()
  await vm.close()
  await piped
  t.is(Buffer.concat(chunks).length, bytes)
  t.true(most < 128 * 1024, `${most}`)
  t.is(vm.stats().consoleBytesLost, 0n)
})

test('characters of more than one byte are decoded across all pieces', async (t) => {
  const line = 'Überläufe größer als 64 KiB: naïve façade\n'
  const vm = await create([{ step: 'print', text: line.repeat(4000) }, { step: 'shutdown' }])
  vm.console.setEncoding('utf8')
  const output = text(vm.console)
  await vm.start()
  await vm.wait()
  await vm.close()
  t.true((await output) === line.repeat(4000))
})

test('async iteration ends when the VM is closed, and leaving it early holds nobody up', async (t) => {
  const vm = await create([...print(3 * MIB), { step: 'shutdown' }])
  let first = 0
  const left = (async () => {
    for await (const chunk of vm.console) {
      first = chunk.length
      break
    }
  })()
  await vm.start()
  await left
  t.true(first > 0)
  t.true(vm.console.destroyed)
  t.is((await vm.wait()).reason, 'shutdown')
  const lost = Number(vm.stats().consoleBytesLost)
  t.true(lost > MIB && lost <= 2 * MIB, `${lost}`)
  await vm.close()
})

test('a console that is destroyed tells whoever wrote, and the VM goes on and is closed', async (t) => {
  for (const error of [null, new Error('of the reader')]) {
    const vm = await create([{ step: 'print', text: 'x' }, { step: 'spin' }])
    const errors: unknown[] = []
    vm.console.on('error', (emitted: Error) => errors.push(emitted))
    await vm.start()
    await once(vm.console, 'data')
    const written = write(vm, noise(1000))
    vm.console.destroy(error ?? undefined)
    t.is(await written, error)
    await vm.pause()
    await vm.resume()
    await vm.close()
    t.deepEqual(errors, error === null ? [] : [error])
  }
})

test('a VM that is closed while its output is read ends the stream behind the last byte', async (t) => {
  const vm = await create([...print(300_000), { step: 'spin' }])
  const output = buffer(vm.console)
  await vm.start()
  await printed(vm, 300_000)
  await vm.close()
  t.is((await output).length, 300_000)
})

test('a paused VM can be read and written', async (t) => {
  await using vm = await create([...print(10), { step: 'spin' }])
  await vm.start()
  await printed(vm, 10)
  await vm.pause()
  t.is(await write(vm, 'typed'), null)
  const [output] = await once(vm.console, 'data')
  t.is(String(output), '0123456789')
})

test('who ends the input goes on reading', async (t) => {
  const vm = await create([...RECEIVES, ...REPORT_BYTE, { step: 'shutdown' }])
  const output = text(vm.console)
  vm.console.end('A')
  await once(vm.console, 'finish')
  await vm.start()
  await vm.wait()
  await vm.close()
  t.is(await output, '0x0000000000000041')
})
