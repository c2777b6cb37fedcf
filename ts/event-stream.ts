import type { VmEvent } from './events.ts'

/** How many events wait for a slow reader. The oldest go first, and the reader is told which. */
const CAPACITY = 4096

/** Events for one `for await` loop, from the moment it was made. */
export class EventStream implements AsyncIterableIterator<VmEvent> {
  readonly #queue: VmEvent[] = []
  readonly #readers: ((result: IteratorResult<VmEvent>) => void)[] = []
  #lost: { fromSeq: number; toSeq: number } | undefined
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
    if (this.#queue.length === CAPACITY) {
      const dropped = this.#queue.shift()
      if (dropped !== undefined) {
        const first = dropped.type === 'events-lost' ? dropped.fromSeq : dropped.seq
        this.#lost = { fromSeq: this.#lost?.fromSeq ?? first, toSeq: dropped.seq }
      }
    }
    this.#queue.push(event)
  }

  /** Ends the stream; what waits is still delivered. */
  end(): void {
    if (this.#ended) return
    this.#ended = true
    for (const reader of this.#readers.splice(0)) reader({ done: true, value: undefined })
    this.#onEnd(this)
  }

  next(): Promise<IteratorResult<VmEvent>> {
    const value = this.#takeLost() ?? this.#queue.shift()
    if (value !== undefined) return Promise.resolve({ done: false, value })
    if (this.#ended) return Promise.resolve({ done: true, value: undefined })
    return new Promise((resolve) => this.#readers.push(resolve))
  }

  #takeLost(): VmEvent | undefined {
    const lost = this.#lost
    const next = this.#queue[0]
    if (lost === undefined || next === undefined) return undefined
    this.#lost = undefined
    const { schemaVersion, time, monotonicNs } = next
    return { type: 'events-lost', schemaVersion, seq: lost.toSeq, time, monotonicNs, ...lost }
  }

  return(): Promise<IteratorResult<VmEvent>> {
    this.#queue.length = 0
    this.end()
    return Promise.resolve({ done: true, value: undefined })
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}
