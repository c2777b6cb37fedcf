import { Duplex } from 'node:stream'
import { type NativeVm, unwrap } from './native.ts'

/** How long to wait, in milliseconds, before a full UART is offered the rest of the input: at first, and at most. */
const RETRY_MS = { first: 2, most: 100 }

/**
 * The guest's console: a 16550 UART at guest-physical address 0x40002000.
 *
 * Output is taken from the VM only when the stream's reader wants it. What nobody reads waits in the VM, 1 MiB at most; then
 * the oldest bytes go.
 */
export class Console extends Duplex {
  readonly #vm: NativeVm
  #timer: NodeJS.Timeout | undefined
  #wanted = false
  #finished = false

  constructor(vm: NativeVm) {
    super({ allowHalfOpen: true, decodeStrings: true })
    this.#vm = vm
  }

  /** Hands over what there is, if the reader wants it. */
  offer(): void {
    if (!this.#wanted || this.readableEnded) return
    const output = this.#vm.takeConsole()
    if (output.length > 0) {
      this.#wanted = false
      this.push(output)
    } else if (this.#finished) {
      this.#wanted = false
      this.push(null)
    }
  }

  /** Ends the console with the VM: what was not read yet still can be, what was not written yet goes nowhere. */
  finish(): void {
    this.#finished = true
    this.end()
    this.offer()
  }

  override _read(): void {
    this.#wanted = true
    // Not from within the reader's own call.
    queueMicrotask(() => this.offer())
  }

  override _write(
    chunk: Uint8Array,
    _encoding: BufferEncoding,
    callback: (error?: Error | null) => void,
  ): void {
    this.#send(chunk, RETRY_MS.first, callback)
  }

  #send(chunk: Uint8Array, retryMs: number, callback: (error?: Error | null) => void): void {
    // A guest that has ended reads nothing any more, which is no error of whoever typed.
    if (!['created', 'running', 'paused'].includes(this.#vm.state)) {
      callback()
      return
    }
    const taken = unwrap(this.#vm.consoleInput(chunk))
    if (taken === chunk.length) {
      callback()
      return
    }
    const next = taken === 0 ? Math.min(retryMs * 2, RETRY_MS.most) : RETRY_MS.first
    this.#timer = setTimeout(() => this.#send(chunk.subarray(taken), next, callback), retryMs).unref()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    clearTimeout(this.#timer)
    callback(error)
  }
}
