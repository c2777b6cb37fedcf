import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { createGuest, SPIN, settled, TOUCH } from './lifecycle-guest.ts'
import { vmThreads } from './process-state.ts'
import { expect, type Measured, type Scale, type Trial } from './trial.ts'
import { WORKER_MODES, type WorkerMode } from './worker-modes.ts'

async function end(name: string, mode: WorkerMode): Promise<void> {
  const worker = new Worker(new URL('./worker-run.js', import.meta.url), { workerData: name })
  const exited = new Promise<number>((resolve) => worker.once('exit', resolve))
  const errors: string[] = []
  worker.on('error', ({ message }) => errors.push(message))
  if (mode.terminate) {
    const ready = new Promise((resolve) => worker.once('message', resolve))
    await settled('the worker that is ready', Promise.race([ready, exited]))
    await settled('terminate()', worker.terminate())
  }
  const code = await settled('the end of the worker', exited)
  // Nothing may be left at this very moment: the environment has ended.
  expect('threads of its VMs', vmThreads().join(), '')
  expect('errors', errors.join(), name === 'an uncaught exception' ? 'on purpose' : '')
  expect('exit code', code, mode.exitCode)
}

/** Whether VMs still work in this process, where the addon was not loaded by this thread before. */
async function worksAfterwards(): Promise<void> {
  const vm = await createGuest([[TOUCH, SPIN]])
  const failure = once(vm, 'memory-failure')
  await vm.start()
  await settled('a failure', failure)
  await settled('close()', vm.close())
}

/** The ends of workers, by name. */
export const WORKERS: Readonly<Record<string, Trial>> = Object.fromEntries(
  Object.entries(WORKER_MODES).map(([name, mode]) => [
    `a worker ends by ${name}`,
    async ({ size }: Scale): Promise<Measured> => {
      for (let round = 0; round < size; round += 1) await end(name, mode)
      await worksAfterwards()
      return { rounds: size, node: process.version }
    },
  ]),
)
