import { Duplex } from 'node:stream'
import { type NativeVm, unwrap } from './native.ts'

/** How long to wait, in milliseconds, before a full UART is offered the rest of the input. */
const RETRY_MS = 2

/** The guest's console: a 16550 UART at guest-physical address 0x40002000. */
export class Console extends Duplex {
  readonly #vm: NativeVm
  #timer: NodeJS.Timeout | undefined

  constructor(vm: NativeVm) {
    super({ allowHalfOpen: true, decodeStrings: true })
    this.#vm = vm
  }

  override _read(): void {}

  override _write(
    chunk: Uint8Array,
    _encoding: BufferEncoding,
    callback: (error?: Error | null) => void,
  ): void {
    try {
      const taken = unwrap(this.#vm.consoleInput(chunk))
      if (taken === chunk.length) {
        callback()
        return
      }
      this.#timer = setTimeout(() => this._write(chunk.subarray(taken), 'utf8', callback), RETRY_MS)
    } catch (error) {
      callback(error as Error)
    }
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    clearTimeout(this.#timer)
    callback(error)
  }
}
