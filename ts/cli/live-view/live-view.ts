import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { finished } from 'node:stream/promises'
import type { VmEvent } from '../../events.ts'
import { decodeEsr, formatEsr } from '../../syndrome.ts'
import type { Vm } from '../../vm.ts'
import { Backlog, type Position } from './backlog.ts'
import { eventWords } from './event-words.ts'
import { serve, type ViewServer } from './server.ts'
import { type Frame, Subscriber, toFrame } from './subscriber.ts'
import type { Decoded } from './wire.ts'

/** Guest-physical address of guest RAM. */
const RAM_GPA = 0x8000_0000n
/** How many pages may listen at a time. */
const SUBSCRIBERS = 16
/** How often one looks how the VM is, in milliseconds, while somebody listens. */
const LOOK_MS = 250
/** After so many looks the connections are tried. */
const LOOKS_PER_BEAT = 60
/** How long, in milliseconds, those who listen have to read the rest when the VM is closed. */
const FAREWELL_MS = 5000
/** How much input may wait for the guest, in bytes, before more is refused. */
const INPUT_BYTES = 64 * 1024

/**
 * A page on loopback that shows a VM: its console, its memory failures as they happen, its lost pages, its counters. Nothing that
 * a page does holds up the VM. It ends with the VM.
 */
export class LiveView {
  /** Where the page is. Who does not know the address is not let in. */
  readonly url: string
  /** Fulfilled when the VM is closed and all was told. */
  readonly ended: Promise<void>
  readonly #vm: Vm
  readonly #memory: number
  readonly #server: ViewServer
  readonly #view: string
  readonly #backlog = new Backlog<Frame>()
  readonly #subscribers = new Set<Subscriber>()
  #looks: NodeJS.Timeout | undefined
  #looked = 0
  #tellsSoon = false
  #now: string
  #finished = false

  /**
   * Opens the view of a VM that was not started yet. `memory` is the size of its RAM in bytes; without a `port` it is a free one.
   *
   * @throws {@link SeawallError} `ERR_INVALID_OPTION` where the port cannot be had.
   */
  static async open(vm: Vm, { memory, port }: { memory: number; port?: number }): Promise<LiveView> {
    // Whoever knows it may read the guest's console and write to it; other users of the machine can reach the port.
    const secret = randomBytes(16).toString('hex')
    let view: LiveView | undefined
    const server = await serve(port ?? 0, secret, {
      stream: (request, response) => view?.subscribe(request, response) ?? false,
      input: (bytes) => view?.input(bytes) ?? false,
    })
    view = new LiveView(vm, memory, server, secret)
    return view
  }

  private constructor(vm: Vm, memory: number, server: ViewServer, secret: string) {
    this.#vm = vm
    this.#memory = memory
    this.#server = server
    this.#view = randomBytes(4).toString('hex')
    this.url = `http://127.0.0.1:${server.port}/${secret}/`
    this.#now = this.#look()
    this.ended = this.#follow()
  }

  async #follow(): Promise<void> {
    const { console } = this.#vm
    const decoder = new TextDecoder()
    console.on('data', (bytes: Uint8Array) => this.#print(decoder.decode(bytes, { stream: true })))
    const printed = finished(console, { writable: false }).catch(() => {})
    for await (const event of this.#vm.events()) {
      this.#backlog.addEvent(frameOf(event))
      this.#tellSoon()
    }
    await printed
    this.#print(decoder.decode())
    this.#now = this.#look()
    this.#finished = true
    this.#tellAll()
    await this.#server.close(FAREWELL_MS)
  }

  #print(text: string): void {
    if (text === '') return
    this.#backlog.addText(text)
    this.#tellSoon()
  }

  /** Lets a page listen, from where it has stopped; answers whether there is room for it. */
  subscribe(request: IncomingMessage, response: ServerResponse): boolean {
    if (this.#subscribers.size >= SUBSCRIBERS) return false
    const position = this.#resume(request.headers['last-event-id'])
    const subscriber = new Subscriber(response, this.#backlog, this.#present, this.#view, position)
    this.#subscribers.add(subscriber)
    response.once('close', () => {
      this.#subscribers.delete(subscriber)
      if (this.#subscribers.size > 0) return
      clearInterval(this.#looks)
      this.#looks = undefined
    })
    const { id, name, vcpus } = this.#vm
    const ram = { gpa: RAM_GPA, size: this.#memory }
    subscriber.write(
      `retry: 1000\n${toFrame('hello', { vm: { id, name }, vcpus: vcpus.length, ram, resumed: position !== null })}`,
    )
    this.#looks ??= setInterval(() => this.#lookAgain(), LOOK_MS).unref()
    this.#now = this.#look()
    subscriber.tell()
    return true
  }

  /** The position that a page had when it lost its connection, where it was this view's. */
  #resume(id: string | string[] | undefined): Position | null {
    const [, view, events = 0, characters = 0] =
      /^([0-9a-f]{8})-(\d{1,15})-(\d{1,15})$/.exec(String(id)) ?? []
    const position = { events: Number(events), characters: Number(characters) }
    const { end } = this.#backlog
    const possible = position.events <= end.events && position.characters <= end.characters
    return view === this.#view && possible ? position : null
  }

  /** Sends the guest input; answers whether it takes any. */
  input(bytes: Uint8Array): boolean {
    const { console, state } = this.#vm
    const listens = ['created', 'running', 'paused'].includes(state)
    if (!listens || !console.writable || console.writableLength + bytes.length > INPUT_BYTES) return false
    console.write(bytes)
    return true
  }

  readonly #present = {
    now: () => this.#now,
    pages: () => (this.#vm.state === 'closed' ? null : toFrame('pages', { pages: this.#vm.poisonedPages() })),
    finished: () => this.#finished,
  }

  #look(): string {
    return toFrame('now', { state: this.#vm.state, stats: this.#vm.stats() })
  }

  #lookAgain(): void {
    this.#looked += 1
    if (this.#looked % LOOKS_PER_BEAT === 0) for (const subscriber of this.#subscribers) subscriber.beat()
    this.#now = this.#look()
    this.#tellAll()
  }

  /** Once for all that a turn of the event loop brings. */
  #tellSoon(): void {
    if (this.#tellsSoon) return
    this.#tellsSoon = true
    setImmediate(() => {
      this.#tellsSoon = false
      this.#tellAll()
    })
  }

  #tellAll(): void {
    for (const subscriber of this.#subscribers) subscriber.tell()
  }
}

/** The frame of an event: made when somebody is told of it, and then once for everybody. A storm costs nothing where nobody looks. */
function frameOf(event: VmEvent): Frame {
  let frame: string | undefined
  return () => {
    frame ??= toEventFrame(event)
    return frame
  }
}

function toEventFrame(event: VmEvent): string {
  const { abort, injection } = event.type === 'memory-failure' ? event : {}
  const words = eventWords(event)
  return toFrame('event', { event, words, syndrome: decode(abort?.esr), injected: decode(injection?.esr) })
}

function decode(esr: bigint | null | undefined): Decoded | null {
  if (esr == null) return null
  const [line = ''] = formatEsr(esr).split('\n')
  // It begins with the value.
  return { sentence: line.replace(/^\w+: /, ''), fields: decodeEsr(esr).fields }
}
