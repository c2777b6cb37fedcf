// Ends this process in the middle of things, in the way that the argument names.
import type { Vm } from 'seawall'
import { exitInside } from './close-inside.ts'
import { createGuest, SPIN, TOUCH } from './lifecycle-guest.ts'

const [how = '', callback = ''] = process.argv.slice(2)
const vms: Vm[] = []

/** VMs that storm, that wait for a decision, and that are being created. */
async function begin(): Promise<void> {
  const storm = [...Array(20_000).fill(TOUCH), SPIN]
  const memoryFailure = { decisionTimeoutMs: 60_000, decide: () => new Promise<never>(() => {}) }
  vms.push(
    await createGuest([storm, storm]),
    await createGuest([storm, storm]),
    await createGuest([storm], { memoryFailure }),
  )
  for (const vm of vms) {
    vm.on('memory-failure', () => {})
    await vm.start()
  }
  for (let index = 0; index < 4; index += 1) void createGuest(Array(8).fill([SPIN]), { memory: 2 ** 26 })
}

async function closeAll(): Promise<void> {
  await Promise.all(vms.map((vm) => vm.close()))
}

const ENDS: Readonly<Record<string, () => unknown>> = {
  'process.exit()': () => process.exit(7),
  'process.exit() that runs into another': () => {
    process.on('exit', () => {
      void createGuest([[SPIN]])
      process.exit(7)
    })
    process.exit(6)
  },
  'process.reallyExit()': () => (process as unknown as { reallyExit(code: number): void }).reallyExit(7),
  'an uncaught exception': () =>
    setImmediate(() => {
      throw new Error('on purpose')
    }),
  'an unhandled rejection': () => void Promise.reject(new Error('on purpose')),
  SIGTERM: () => process.kill(process.pid, 'SIGTERM'),
  SIGINT: () => process.kill(process.pid, 'SIGINT'),
  SIGKILL: () => process.kill(process.pid, 'SIGKILL'),
  'SIGTERM that closes the VMs': () => {
    process.once('SIGTERM', async () => {
      await closeAll()
      process.exitCode = 7
      // Those that were created meanwhile do not run, and hold nobody up.
    })
    process.kill(process.pid, 'SIGTERM')
  },
  'nothing left to do': () => {
    for (const vm of vms) vm.unref()
    process.exitCode = 7
  },
  'close() and nothing left to do': async () => {
    await closeAll()
    process.exitCode = 7
  },
}

if (callback !== '') await exitInside(callback)
else {
  await begin()
  await ENDS[how]?.()
}
