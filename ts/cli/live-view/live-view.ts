import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { finished } from 'node:stream/promises'
import type { PoisonedPage } from '../../events.ts'
import type { Vm } from '../../vm.ts'
import { Backlog, type Position } from './backlog.ts'
import { eventFrame, type Frame, toFrame } from './frames.ts'
import { Pace } from './pace.ts'
import { serve, type ViewServer } from './server.ts'
import { Subscriber } from './subscriber.ts'
import { Syndromes } from './syndromes.ts'

/** Guest-physical address of guest RAM. */
const RAM_GPA = 0x8000_0000n
/** How many pages may listen at a time. */
const SUBSCRIBERS = 16
/** Pages are told no more often than this, in milliseconds: people see no difference, and a storm leaves time for who else listens. */
const PACE_MS = 50
/** How often one looks how the VM is, in milliseconds, while somebody listens. */
const LOOK_MS = 250
/** After so many looks the connections are tried. */
const LOOKS_PER_BEAT = 60
/** How long, in milliseconds, those who listen have to read the rest when the view is closed. */
const FAREWELL_MS = 5000
/** How much input may wait for the guest, in bytes, before more is refused. */
const INPUT_BYTES = 64 * 1024

/**
 * A page on loopback that shows a VM: its console, its memory failures as they happen, its lost pages, its counters. Nothing that
 * a page does holds up the VM. What it shows stays when the VM is closed, until the view is closed too.
 */
export class LiveView {
  /** Where the page is. Who does not know the address is not let in. */
  readonly url: string
  /** Fulfilled when the VM is closed and the view knows all that happened to it. */
  readonly ended: Promise<void>
  readonly #vm: Vm
  readonly #memory: number
  readonly #server: ViewServer
  readonly #view: string
  readonly #backlog = new Backlog<Frame>()
  readonly #syndromes = new Syndromes()
  readonly #subscribers = new Set<Subscriber>()
  readonly #pace = new Pace(PACE_MS, () => this.#tellAll())
  #looks: NodeJS.Timeout | undefined
  #looked = 0
  #now: string
  /** Every lost page, and after how many events that was: a VM may have lost many thousands. */
  #pages: { frame: string; events: number } | undefined
  /** Every lost page of a guest that has ended: a VM that is closed knows them no more. */
  #lastPages: Map<bigint, PoisonedPage> | undefined
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
    // Whoever waits for the end, to close the VM then, hears of it later.
    this.#vm.once('exit', () => {
      if (this.#vm.state !== 'closed')
        this.#lastPages = new Map(this.#vm.poisonedPages().map((page) => [page.gpa, page]))
    })
    for await (const event of this.#vm.events()) {
      this.#backlog.addEvent(eventFrame(event, this.#syndromes))
      if (event.type === 'state-changed') this.#now = this.#look()
      if (event.type === 'page-state-changed') this.#lastPages?.set(event.page.gpa, event.page)
      this.#pace.ask()
    }
    await printed
    this.#print(decoder.decode())
    this.#now = this.#look()
    this.#finished = true
    this.#pace.ask()
  }

  /** Ends the server. Pages that listen are told the rest first, for as long as they read it. */
  async close(): Promise<void> {
    await this.#server.close(FAREWELL_MS)
  }

  #print(text: string): void {
    if (text === '') return
    this.#backlog.addText(text)
    this.#pace.ask()
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
    this.#pace.ask()
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
    pages: () => this.#lookAtPages(),
    finished: () => this.#finished,
    more: () => this.#pace.ask(),
  }

  #lookAtPages(): string | null {
    const { events } = this.#backlog.end
    if (this.#pages?.events === events) return this.#pages.frame
    const pages = this.#vm.state === 'closed' ? this.#lastPages?.values() : this.#vm.poisonedPages()
    if (pages === undefined) return null
    const frame = toFrame('pages', { pages: [...pages] })
    this.#pages = { frame, events }
    return frame
  }

  #look(): string {
    return toFrame('now', { state: this.#vm.state, stats: this.#vm.stats() })
  }

  #lookAgain(): void {
    this.#looked += 1
    if (this.#looked % LOOKS_PER_BEAT === 0) for (const subscriber of this.#subscribers) subscriber.beat()
    this.#now = this.#look()
    this.#pace.ask()
  }

  #tellAll(): void {
    for (const subscriber of this.#subscribers) subscriber.tell()
  }
}
