import type { VmEvent } from './events.ts'

/** How many events wait for a slow reader. The oldest go first, and the reader is told which. */
const CAPACITY = 4096

/** Events for one `for await` loop, from the moment it was made. */
export class EventStream implements AsyncIterableIterator<VmEvent> {
  /** What waits, from the head on: an array that is moved up with every event that is taken costs more than the event. */
  readonly #queue: (VmEvent | undefined)[] = []
  #head = 0
  readonly #readers: ((result: IteratorResult<VmEvent>) => void)[] = []
  /** The numbers that the reader lost and was not told of: ranges in order, with gaps between. */
  readonly #lost: { fromSeq: number; toSeq: number }[] = []
  #ended = false
  readonly #onEnd: (stream: EventStream) => void

  constructor(onEnd: (stream: EventStream) => void) {
    this.#onEnd = onEnd
  }

  push(event: VmEvent): void {
    if (this.#ended) return
    const reader = this.#readers.shift()
    if (reader !== undefined) {
      reader({ done: false, value: event })
      return
    }
    if (this.#queue.length - this.#head === CAPACITY) {
      const dropped = this.#take()
      if (dropped !== undefined) this.#lose(dropped)
    }
    this.#queue.push(event)
  }

  #take(): VmEvent | undefined {
    const event = this.#queue[this.#head]
    if (event === undefined) return undefined
    this.#queue[this.#head] = undefined
    this.#head += 1
    if (this.#head === this.#queue.length || this.#head === CAPACITY) {
      this.#queue.splice(0, this.#head)
      this.#head = 0
    }
    return event
  }

  /** Joins what was lost with the range before it, the one after it, or both: most come in order, but not all. */
  #lose(event: VmEvent): void {
    const fromSeq = event.type === 'events-lost' ? event.fromSeq : event.seq
    const toSeq = event.seq
    let index = this.#lost.length
    let before = this.#lost[index - 1]
    while (before !== undefined && before.fromSeq > fromSeq) {
      index -= 1
      before = this.#lost[index - 1]
    }
    const after = this.#lost[index]
    const afterJoins = after?.fromSeq === toSeq + 1
    if (before?.toSeq === fromSeq - 1) {
      before.toSeq = afterJoins ? after.toSeq : toSeq
      if (afterJoins) this.#lost.splice(index, 1)
    } else if (afterJoins) after.fromSeq = fromSeq
    else this.#lost.splice(index, 0, { fromSeq, toSeq })
  }

  /** Ends the stream; what waits is still delivered. */
  end(): void {
    if (this.#ended) return
    this.#ended = true
    for (const reader of this.#readers.splice(0)) reader({ done: true, value: undefined })
    this.#onEnd(this)
  }

  next(): Promise<IteratorResult<VmEvent>> {
    const value = (this.#lost.length > 0 ? this.#takeLost() : undefined) ?? this.#take()
    if (value !== undefined) return Promise.resolve({ done: false, value })
    if (this.#ended) return Promise.resolve({ done: true, value: undefined })
    return new Promise((resolve) => this.#readers.push(resolve))
  }

  #takeLost(): VmEvent | undefined {
    const next = this.#queue[this.#head]
    const lost = next === undefined ? undefined : this.#lost.shift()
    if (next === undefined || lost === undefined) return undefined
    const { schemaVersion, time, monotonicNs } = next
    return { type: 'events-lost', schemaVersion, seq: lost.toSeq, time, monotonicNs, ...lost }
  }

  return(): Promise<IteratorResult<VmEvent>> {
    this.#queue.length = 0
    this.#head = 0
    this.end()
    return Promise.resolve({ done: true, value: undefined })
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}
