import { once } from 'node:events'
import { Worker } from 'node:worker_threads'

const WAIT_MS = 10

const source = `
  const { parentPort, workerData: late } = require('node:worker_threads')
  const never = new Int32Array(new SharedArrayBuffer(4))
  parentPort.postMessage('waits')
  for (;;) {
    const began = performance.now()
    Atomics.wait(never, 0, 0, ${WAIT_MS})
    late[0] = Math.max(late[0], performance.now() - began - ${WAIT_MS})
  }`

/**
 * How late threads wake up on this machine while something else is measured: a thread of its own waits a short time, again
 * and again. What is measured may be as late as that, and no fault of Seawall's.
 */
export class Lateness implements AsyncDisposable {
  readonly #late = new Float64Array(new SharedArrayBuffer(8))
  readonly #worker = new Worker(source, { eval: true, workerData: this.#late })

  static async start(): Promise<Lateness> {
    const lateness = new Lateness()
    await once(lateness.#worker, 'message')
    return lateness
  }

  /** The latest of all wake-ups so far, in milliseconds. */
  get worstMs(): number {
    return this.#late[0] ?? 0
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate()
  }
}
