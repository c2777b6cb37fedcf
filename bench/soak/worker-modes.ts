import type { Vm } from 'seawall'
import { createGuest, SPIN, TOUCH } from './lifecycle-guest.ts'

/** How a worker ends, and what its VMs do meanwhile. */
export interface WorkerMode {
  /** What happens in the worker. It says `ready` when it may be terminated. */
  run(ready: () => void): Promise<void>
  /** Whether it is terminated, or ends by itself. */
  readonly terminate: boolean
  /** What it exits with. */
  readonly exitCode: number
}

const storm = [...Array(5000).fill(TOUCH), SPIN]
const decide = { memoryFailure: { decisionTimeoutMs: 60_000, decide: () => new Promise<never>(() => {}) } }

async function running(count = 4): Promise<Vm[]> {
  const vms = await Promise.all(Array.from({ length: count }, () => createGuest([storm, storm])))
  for (const vm of vms) {
    vm.on('memory-failure', () => {})
    await vm.start()
  }
  return vms
}

function create(count = 8): void {
  for (let index = 0; index < count; index += 1) void createGuest(Array(8).fill([SPIN]), { memory: 2 ** 26 })
}

/** The ways, by name. */
export const WORKER_MODES: Readonly<Record<string, WorkerMode>> = {
  'terminate() while VMs storm': {
    run: async (ready) => {
      await running()
      ready()
    },
    terminate: true,
    exitCode: 1,
  },
  'terminate() while VMs are created': {
    run: async (ready) => {
      ready()
      create()
    },
    terminate: true,
    exitCode: 1,
  },
  'terminate() of a loop without end': {
    run: async (ready) => {
      await running()
      create()
      ready()
      for (;;);
    },
    terminate: true,
    exitCode: 1,
  },
  'terminate() while vCPUs wait for decide': {
    run: async (ready) => {
      const vm = await createGuest([storm, storm], {
        memoryFailure: {
          ...decide.memoryFailure,
          decide: () => {
            ready()
            return new Promise<never>(() => {})
          },
        },
      })
      await vm.start()
    },
    terminate: true,
    exitCode: 1,
  },
  'terminate() while VMs are closed': {
    run: async (ready) => {
      const vms = await running()
      // The worker does not end by itself when they are closed.
      setInterval(() => {}, 60_000)
      for (const vm of vms) void vm.close()
      ready()
    },
    terminate: true,
    exitCode: 1,
  },
  'process.exit() while VMs storm': {
    run: async () => {
      await running()
      process.exit(3)
    },
    terminate: false,
    exitCode: 3,
  },
  'process.exit() while VMs are created': {
    run: async () => {
      create()
      process.exit(3)
    },
    terminate: false,
    exitCode: 3,
  },
  'an uncaught exception': {
    run: async () => {
      await running()
      throw new Error('on purpose')
    },
    terminate: false,
    exitCode: 1,
  },
  'nothing left to do, and a VM that was unreferenced': {
    run: async () => {
      for (const vm of await running()) vm.unref()
    },
    terminate: false,
    exitCode: 0,
  },
  'close()': {
    run: async () => {
      for (const vm of await running()) await vm.close()
    },
    terminate: false,
    exitCode: 0,
  },
}
