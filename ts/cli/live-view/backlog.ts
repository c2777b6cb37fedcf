/** How many events are kept for who comes, or comes back, later. */
const EVENTS = 1000
/** How many characters of the guest's console are kept. */
const CHARACTERS = 256 * 1024
/** Pieces of text are joined up to this length: a guest may print byte by byte. */
const PIECE = 16 * 1024

/** How much somebody was told: so many events, and so many characters of the console. */
export interface Position {
  readonly events: number
  readonly characters: number
}

/** What comes after a position, and the position after it. */
export type Next<Event> = { readonly end: Position } & (
  | { readonly kind: 'event'; readonly event: Event }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'lost'; readonly events: number; readonly characters: number }
)

/**
 * What happened most recently, in order. Everybody who is told of it has a position of his own, so that one who is slow costs
 * no memory: he finds that what he has not read yet is gone, and how much it was.
 */
export class Backlog<Event> {
  /** The newest events, each with how much the guest had printed before it. */
  readonly #events: { event: Event; after: number }[] = []
  /** The newest text, in pieces; `start` is how many characters came before. */
  readonly #pieces: { start: number; text: string }[] = []
  #end: Position = { events: 0, characters: 0 }

  /** The position of who was told everything. */
  get end(): Position {
    return this.#end
  }

  addEvent(event: Event): void {
    const { events, characters } = this.#end
    this.#events.push({ event, after: characters })
    if (this.#events.length > EVENTS) this.#events.shift()
    this.#end = { events: events + 1, characters }
  }

  addText(text: string): void {
    const { events, characters } = this.#end
    const last = this.#pieces.at(-1)
    if (last !== undefined && last.text.length + text.length <= PIECE) last.text += text
    else this.#pieces.push({ start: characters, text })
    this.#end = { events, characters: characters + text.length }
    for (;;) {
      const second = this.#pieces[1]
      if (second === undefined || this.#end.characters - second.start < CHARACTERS) break
      this.#pieces.shift()
    }
  }

  /** What comes after a position; `null` at the end. */
  after(position: Position): Next<Event> | null {
    const firstEvent = this.#end.events - this.#events.length
    const firstCharacter = this.#pieces[0]?.start ?? this.#end.characters
    const events = Math.max(0, firstEvent - position.events)
    const characters = Math.max(0, firstCharacter - position.characters)
    if (events + characters > 0) {
      const end = { events: position.events + events, characters: position.characters + characters }
      return { kind: 'lost', events, characters, end }
    }
    const next = this.#events[position.events - firstEvent]
    const text = this.#text(position.characters, next?.after ?? this.#end.characters)
    if (text !== '') {
      const end = { ...position, characters: position.characters + text.length }
      return { kind: 'text', text, end }
    }
    return next === undefined
      ? null
      : { kind: 'event', event: next.event, end: { ...position, events: position.events + 1 } }
  }

  /** Text between two positions, as far as one piece has it. */
  #text(from: number, to: number): string {
    if (from >= to) return ''
    const piece = this.#pieces.filter(({ start }) => start <= from).at(-1)
    return piece?.text.slice(from - piece.start, to - piece.start) ?? ''
  }
}
