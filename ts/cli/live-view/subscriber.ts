import type { ServerResponse } from 'node:http'
import type { Backlog, Position } from './backlog.ts'
import { type Frame, toFrame } from './frames.ts'

/**
 * How much goes out at a time, however much a socket takes: so many events, or about so many characters. In a storm it is the
 * page that loses events: who else listens to the VM does so on the same thread.
 */
const EVENTS = 64
const CHARACTERS = 256 * 1024

/** What a subscriber is told beside the backlog, when it has read that. */
export interface Present {
  /** How the VM is now, as a frame. */
  now(): string
  /** Every lost page, as a frame; `null` where nobody knows any more. */
  pages(): string | null
  /** Whether there will be no more. */
  finished(): boolean
  /** Asks that everybody be told again, when it is time. */
  more(): void
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
  /** It was told that there is no more. */
  #ended = false
  /** It was full at the last look as well, and nothing has gone out since. */
  #stuck = false

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
      present.more()
    })
  }

  /** Writes one frame; whoever reads slowly gets the next one later. */
  write(frame: string): void {
    this.#waits = !this.#response.write(frame)
  }

  /** Tells what there is, in one piece, as far as that is not too much at a time: the rest follows. */
  tell(): void {
    if (this.#waits || this.#ended || this.#response.destroyed) return
    let piece = ''
    let frame: string | null
    let events = 0
    do {
      frame = this.#next()
      piece += frame ?? ''
      events += 1
    } while (frame !== null && events < EVENTS && piece.length < CHARACTERS)
    // The counters go on also where a storm never lets it come to the end of the backlog.
    piece += this.#changedNow() ?? ''
    if (piece !== '') this.write(piece)
    if (this.#ended) this.#response.end()
    else if (frame !== null) this.#present.more()
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
    const now = this.#changedNow()
    if (now !== null) return now
    if (this.#ended || !this.#present.finished()) return null
    this.#ended = true
    return toFrame('bye', {})
  }

  #changedNow(): string | null {
    const now = this.#present.now()
    if (now === this.#now) return null
    this.#now = now
    return now
  }
}
