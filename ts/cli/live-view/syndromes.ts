import { jsonReplacer } from '../../json.ts'
import { decodeEsr, formatEsr } from '../../syndrome.ts'
import type { Decoded } from './wire.ts'

/** How many values are kept. A guest meets few, but it can make more: the syndrome of an abort says how it was met. */
const VALUES = 256

/** Decoded syndromes as JSON. To decode one takes longer than all else about a failure, and a storm has the same few values. */
export class Syndromes {
  /** By value, the oldest first. */
  readonly #kept = new Map<bigint, string>()
  readonly #decode: (esr: bigint) => Decoded

  constructor(decode = decodeInFull) {
    this.#decode = decode
  }

  /** A value's {@link Decoded}, as JSON. */
  json(esr: bigint | null | undefined): string {
    if (esr == null) return 'null'
    const kept = this.#kept.get(esr)
    if (kept !== undefined) return kept
    const made = JSON.stringify(this.#decode(esr), jsonReplacer)
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size < VALUES) break
      this.#kept.delete(oldest)
    }
    this.#kept.set(esr, made)
    return made
  }
}

function decodeInFull(esr: bigint): Decoded {
  const [line = ''] = formatEsr(esr).split('\n')
  // It begins with the value.
  return { sentence: line.replace(/^\w+: /, ''), fields: decodeEsr(esr).fields }
}
