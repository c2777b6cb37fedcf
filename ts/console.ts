import { Duplex } from 'node:stream'
import type { NativeVm } from './native.ts'

/** How many bytes wait in Node, in each direction, before the stream says that it is full. */
const HIGH_WATER_MARK = 64 * 1024

/**
 * How long, in milliseconds, what the guest prints is gathered once some was delivered. It prints byte by byte: to be called
 * for each would keep the event loop from everything else, and slow the guest down.
 */
const GATHER_MS = 5
/**
 * How long, in milliseconds, a guest that has taken its input is left alone at least and at most: as long as it took. A guest
 * with one vCPU that is sent more at once does nothing but receive.
 */
const PAUSE_MS = { least: 1, most: 1000 }

/** Called when what was written has gone to the guest. */
type Written = (error?: Error | null) => void

/**
 * The guest's console: a 16550 UART at guest-physical address 0x40002000.
 *
 * **Output**: nobody reads a console that nothing reads from, and nothing waits for it: the VM keeps the newest 1 MiB. From
 * the first read on no byte is lost. A reader that is slow has the guest wait: when 1 MiB waits in the VM, the UART's
 * transmitter is busy. A guest that sends all the same is heard up to another 1 MiB; `stats().consoleBytesLost` counts what
 * goes after that. A stream that was destroyed reads no more, and holds nobody up.
 *
 * **Input** goes to the guest as it takes it, also what is written before the VM runs. What is written to a VM that has ended
 * goes nowhere, which is no error of whoever typed.
 *
 * The stream ends when the VM is closed; what the guest has said until then can still be read.
 */
export class Console extends Duplex {
  readonly #vm: NativeVm
  /** Somebody waits for output. */
  #wanted = false
  #gathers = false
  /** The VM is closed: what output there is, is all. */
  #finished = false
  /** Input that the guest has not taken yet. */
  #input: { rest: Uint8Array; written: Written } | undefined
  /** When input was sent last. */
  #sent = 0
  #pause: NodeJS.Timeout | undefined

  constructor(vm: NativeVm) {
    super({ allowHalfOpen: true, decodeStrings: true, highWaterMark: HIGH_WATER_MARK })
    this.#vm = vm
  }

  /** Hands output to the reader, if it waits for some. */
  deliver(): void {
    if (!this.#wanted || this.#gathers || this.destroyed) return
    const output = this.#vm.takeConsole(HIGH_WATER_MARK)
    if (output.length > 0) {
      this.#wanted = false
      this.#gathers = true
      setTimeout(
        () => {
          this.#gathers = false
          this.deliver()
        },
        this.#finished ? 0 : GATHER_MS,
      )
      this.push(output)
    } else if (this.#finished) {
      this.#wanted = false
      this.push(null)
    }
  }

  /** Sends the guest more input, if some waits and it has taken what it was sent. Of a VM that has ended nothing waits. */
  sendMore(): void {
    // Asked for every batch of events: where nothing waits, nothing is looked up.
    if (this.#input === undefined) return
    if (!this.#runs()) this.#send()
    if (this.#input === undefined || this.#pause !== undefined || this.#vm.consoleInputRoom() === 0) return
    const took = performance.now() - this.#sent
    const pause = Math.min(Math.max(took, PAUSE_MS.least), PAUSE_MS.most)
    this.#pause = setTimeout(() => {
      this.#pause = undefined
      this.#send()
    }, pause).unref()
  }

  #send(): void {
    const input = this.#input
    if (input === undefined) return
    const { rest, written } = input
    const taken = this.#runs() ? this.#vm.consoleInput(rest) : rest.length
    this.#sent = performance.now()
    // The one error is that the VM was closed at this moment.
    if (typeof taken === 'number' && taken < rest.length) {
      input.rest = rest.subarray(taken)
      return
    }
    this.#input = undefined
    written()
  }

  #runs(): boolean {
    return ['created', 'running', 'paused'].includes(this.#vm.state)
  }

  /** Ends the console with the VM: what was not read yet still can be, what was not written yet goes nowhere. */
  finish(): void {
    this.#finished = true
    this.end()
    this.#send()
    this.deliver()
  }

  override _read(): void {
    this.#wanted = true
    // Not from within the reader's own call.
    queueMicrotask(() => this.deliver())
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, written: Written): void {
    this.#input = { rest: chunk, written }
    this.#send()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    clearTimeout(this.#pause)
    this.#vm.releaseConsole()
    const input = this.#input
    this.#input = undefined
    callback(error)
    input?.written(error)
  }
}
