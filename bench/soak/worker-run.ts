// What a worker of the soak does, by the mode that its owner named.
import { parentPort, workerData } from 'node:worker_threads'
import { WORKER_MODES } from './worker-modes.ts'

await WORKER_MODES[String(workerData)]?.run(() => parentPort?.postMessage('ready'))
