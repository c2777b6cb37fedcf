import type { ServerResponse } from 'node:http'
import { jsonReplacer } from '../../json.ts'
import type { Backlog, Position } from './backlog.ts'
import type { Messages } from './wire.ts'

/**
 * How many characters go out in one turn of the event loop, about, however much a socket takes. In a storm it is the page that
 * loses events: who else listens to the VM does so on the same thread.
 */
const TURN = 32 * 1024

/** Makes an event's server-sent event, without its id. */
export type Frame = () => string

/** A message as a server-sent event; `id` is what the browser sends back as Last-Event-ID. */
export function toFrame<Name extends keyof Messages>(name: Name, data: Messages[Name], id?: string): string {
  return `${id === undefined ? '' : `id: ${id}\n`}event: ${name}\ndata: ${JSON.stringify(data, jsonReplacer)}\n\n`
}

/** What a subscriber is told beside the backlog, when it has read that. */
export interface Present {
  /** How the VM is now, as a frame. */
  now(): string
  /** Every lost page, as a frame; `null` where nobody knows any more. */
  pages(): string | null
  /** Whether there will be no more. */
  finished(): boolean
}

/** One page that listens. It is told as fast as it reads: what waits for it is in the backlog, once for all. */
export class Subscriber {
  readonly #response: ServerResponse
  readonly #backlog: Backlog<Frame>
  readonly #present: Present
  readonly #view: string
  #position: Position
  #now = ''
  /** It may not have heard of every lost page: of events that are gone, or that were on their way when its connection broke. */
  #pagesDue: boolean
  /** The socket is full. */
  #waits = false
  /** It was full at the last look as well, and nothing has gone out since. */
  #stuck = false
  /** The turn to come in which it is told more. */
  #turn: NodeJS.Immediate | undefined

  constructor(
    response: ServerResponse,
    backlog: Backlog<Frame>,
    present: Present,
    view: string,
    position: Position | null,
  ) {
    this.#response = response
    this.#backlog = backlog
    this.#present = present
    this.#view = view
    this.#position = position ?? { events: 0, characters: 0 }
    this.#pagesDue = position !== null
    // One that went away is told by 'close'.
    response.on('error', () => {})
    response.on('drain', () => {
      this.#waits = false
      this.#stuck = false
      this.tell()
    })
  }

  /** Writes one frame; whoever reads slowly gets the next one later. */
  write(frame: string): void {
    this.#waits = !this.#response.write(frame)
  }

  /** Tells what there is, as long as the socket takes it. */
  tell(): void {
    if (this.#turn !== undefined) return
    for (let written = 0; !this.#waits && !this.#response.writableEnded && !this.#response.destroyed; ) {
      const frame = this.#next()
      if (frame === null) return
      this.write(frame)
      written += frame.length
      if (written < TURN) continue
      this.#turn = setImmediate(() => {
        this.#turn = undefined
        this.tell()
      })
      return
    }
  }

  /** Shows that the connection is alive. One that took nothing since the last time is given up; the page comes back. */
  beat(): void {
    if (this.#stuck) this.#response.destroy()
    else if (this.#waits) this.#stuck = true
    else this.write(':\n\n')
  }

  #next(): string | null {
    const next = this.#backlog.after(this.#position)
    if (next === null) return this.#nextOfPresent()
    this.#position = next.end
    const id = `${this.#view}-${next.end.events}-${next.end.characters}`
    switch (next.kind) {
      case 'event':
        return `id: ${id}\n${next.event()}`
      case 'text':
        return toFrame('console', { text: next.text }, id)
      case 'lost': {
        const { events, characters } = next
        if (events > 0) this.#pagesDue = true
        return toFrame('lost', { events, characters }, id)
      }
    }
  }

  #nextOfPresent(): string | null {
    if (this.#pagesDue) {
      this.#pagesDue = false
      const pages = this.#present.pages()
      if (pages !== null) return pages
    }
    const now = this.#present.now()
    if (now !== this.#now) {
      this.#now = now
      return now
    }
    if (this.#present.finished()) this.#response.end(toFrame('bye', {}))
    return null
  }
}
