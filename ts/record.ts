import { loadNative } from './native.ts'

/** The bytes that a record has at most. */
const MOST_BYTES = 64 * 8
/** A number in the place of a word says that its text came beside the records. */
const TEXT = 0xffff_ffff

/** What the numbers of words mean. */
let words: readonly string[] | undefined

/** Reads what the addon writes into a buffer, slot after slot of 8 bytes, in the order of `crates/napi/src/record.rs`. */
export class RecordReader {
  /** Where the addon writes. */
  readonly buffer: Buffer
  readonly #u32: Uint32Array
  readonly #f64: Float64Array
  readonly #u64: BigUint64Array
  readonly #words: readonly string[]
  #at = 0
  #texts: readonly string[] = []
  #nextText = 0

  /** Makes a reader with room for so many records. */
  static ofRecords(records: number): RecordReader {
    return new RecordReader(Buffer.from(new ArrayBuffer(records * MOST_BYTES)))
  }

  /** Makes a reader of records that are there already. */
  static of(bytes: Uint8Array): RecordReader {
    const reader = new RecordReader(Buffer.from(new ArrayBuffer(bytes.length)))
    reader.buffer.set(bytes)
    return reader
  }

  private constructor(buffer: Buffer) {
    words ??= loadNative().recordWords()
    this.#words = words
    this.buffer = buffer
    this.#u32 = new Uint32Array(buffer.buffer)
    this.#f64 = new Float64Array(buffer.buffer)
    this.#u64 = new BigUint64Array(buffer.buffer)
  }

  /** Begins with the first record of a new batch. */
  rewind(texts: readonly string[] = []): void {
    this.#at = 0
    this.#texts = texts
    this.#nextText = 0
  }

  /** Whether everything was read, of records that were there already. */
  get ended(): boolean {
    return this.#at === this.#u64.length
  }

  /** An integer below 2 ** 32. */
  u32(): number {
    const value = this.#u32[this.#at * 2] as number
    this.#at += 1
    return value
  }

  /** A count: exact below 2 ** 53, which none here ever reaches. */
  count(): number {
    const at = this.#at * 2
    this.#at += 1
    return (this.#u32[at] as number) + (this.#u32[at + 1] as number) * 2 ** 32
  }

  f64(): number {
    const value = this.#f64[this.#at] as number
    this.#at += 1
    return value
  }

  u64(): bigint {
    const value = this.#u64[this.#at] as bigint
    this.#at += 1
    return value
  }

  flag(): boolean {
    return this.u32() !== 0
  }

  /** One of the words that the addon and this side know by number. */
  word<Word extends string>(): Word {
    return this.#words[this.u32()] as Word
  }

  /** Such a word, or what came beside the records. */
  text(): string {
    const word = this.u32()
    if (word !== TEXT) return this.#words[word] as string
    const text = this.#texts[this.#nextText] as string
    this.#nextText += 1
    return text
  }
}
