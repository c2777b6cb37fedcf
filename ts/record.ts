import { loadNative } from './native.ts'

/** What the addon writes about memory failures: rows of 8-byte slots, as `crates/napi/src/record.rs` says. */
const SLOTS = 22
const RECORD_BYTES = SLOTS * 8
/** A number in the place of a word says that its text came beside the records. */
const TEXT = 0xffff_ffff

/** What the numbers of words mean. */
let knownWords: readonly string[] | undefined

/**
 * Records in a buffer, one of them at a time. The fields are plain and the methods tiny so that the engine makes loads of them
 * where they are called.
 */
export class Records {
  /** Where the addon writes. */
  readonly buffer: Buffer
  /** How many there are, or may be. */
  readonly length: number
  readonly u8: Uint8Array
  readonly u32: Uint32Array
  readonly f64: Float64Array
  readonly u64: BigUint64Array
  readonly words: readonly string[]
  /** The first slot of the record that is read. */
  at = 0
  texts: readonly string[] = []
  nextText = 0

  /** Makes room for so many. */
  static ofLength(length: number): Records {
    return new Records(Buffer.from(new ArrayBuffer(length * RECORD_BYTES)))
  }

  /** Reads records that are there already. */
  static of(bytes: Uint8Array): Records {
    const records = new Records(Buffer.from(new ArrayBuffer(bytes.length)))
    records.buffer.set(bytes)
    return records
  }

  private constructor(buffer: Buffer) {
    knownWords ??= loadNative().recordWords()
    this.words = knownWords
    this.buffer = buffer
    this.length = buffer.length / RECORD_BYTES
    this.u8 = buffer
    this.u32 = new Uint32Array(buffer.buffer)
    this.f64 = new Float64Array(buffer.buffer)
    this.u64 = new BigUint64Array(buffer.buffer)
  }

  /** Begins a batch with the texts that belong to it. */
  begin(texts: readonly string[]): void {
    this.texts = texts
    this.nextText = 0
  }

  /** Goes to the record of an index. */
  select(index: number): void {
    this.at = index * SLOTS
  }

  /** The lower half of a slot. */
  low(slot: number): number {
    return this.u32[(this.at + slot) * 2] as number
  }

  /** The upper half of a slot. */
  high(slot: number): number {
    return this.u32[(this.at + slot) * 2 + 1] as number
  }

  /** A count: exact below 2 ** 53, which none here ever reaches. */
  count(slot: number): number {
    return this.low(slot) + this.high(slot) * 2 ** 32
  }

  float(slot: number): number {
    return this.f64[this.at + slot] as number
  }

  big(slot: number): bigint {
    return this.u64[this.at + slot] as bigint
  }

  /** One of the bytes behind the first four slots. */
  byte(index: number): number {
    return this.u8[(this.at + 4) * 8 + index] as number
  }

  /** The word of such a byte. */
  word<Word extends string>(index: number): Word {
    return this.words[this.byte(index)] as Word
  }

  /** The word of a number, or the next text that came beside the records. */
  text(number: number): string {
    if (number !== TEXT) return this.words[number] as string
    return this.textBeside()
  }

  textBeside(): string {
    const text = this.texts[this.nextText] as string
    this.nextText += 1
    return text
  }
}
