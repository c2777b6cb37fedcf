import test from 'ava'
import { type SeawallErrorCode, simulated, Vm } from 'seawall'
import { lostPages } from './behaviours/lost-pages.ts'
import { check } from './behaviours/observe.ts'

const boot = { type: 'flat', image: new Uint8Array(4) } as const

for (const behaviour of lostPages) {
  test(behaviour.name, (t) => check(t, behaviour, { boot, backend: simulated({ script: behaviour.script }) }))
}

test('replacePage and reportPoison say what they expect', async (t) => {
  const backend = simulated({ script: [[{ step: 'shutdown' }]] })
  const vm = await Vm.create({ memory: 64 * 2 ** 20, boot, backend })
  const rejects = async (promise: () => Promise<void>, code: SeawallErrorCode, message: RegExp) =>
    void (await t.throwsAsync(promise, { code, message }))
  await rejects(
    () => vm.replacePage(0x8000_0000n),
    'ERR_QUARANTINE',
    /^the page of guest RAM at 0x80000000 could not be replaced: it is not lost$/,
  )
  await rejects(() => vm.replacePage(0x1000n), 'ERR_GUEST_MEMORY', /received 0x1 bytes at 0x1000$/)
  await rejects(() => vm.replacePage(-1n), 'ERR_INVALID_OPTION', /for gpa but received -1n$/)
  await rejects(() => vm.reportPoison(0x8000_0000n, 0), 'ERR_INVALID_OPTION', /for length but received 0$/)
  await rejects(
    () => vm.reportPoison(0x83ff_f000n, 4097),
    'ERR_GUEST_MEMORY',
    /received 0x1001 bytes at 0x83fff000$/,
  )
  await rejects(
    () => vm.reportPoison(0x8000_0001n, 16 * 2 ** 20),
    'ERR_QUARANTINE',
    /Expected at most 4096 pages for one report but received 4097$/,
  )
  t.deepEqual(vm.poisonedPages(), [], 'nothing was done')
  await vm.reportPoison(0x8000_0000n, 4096)
  await vm.replacePage(0x8000_0fffn)
  await rejects(() => vm.replacePage(0x8000_0000n), 'ERR_QUARANTINE', /it is not lost$/)
  await vm.start()
  await vm.wait()
  await rejects(
    () => vm.replacePage(0x8000_0000n),
    'ERR_INVALID_STATE',
    /created, running or paused for replacePage\(\) but received one that is stopped$/,
  )
  await rejects(
    () => vm.reportPoison(0x8000_0000n, 1),
    'ERR_INVALID_STATE',
    /created, running or paused for reportPoison\(\) but received one that is stopped$/,
  )
  t.deepEqual(await vm.close(), { unretiredHostPages: 1 })
  await rejects(() => vm.replacePage(0x8000_0000n), 'ERR_VM_CLOSED', /replacePage/)
  await rejects(() => vm.reportPoison(0x8000_0000n, 1), 'ERR_VM_CLOSED', /reportPoison/)
})

test('what a threshold wants and a state does not allow is not told as done', async (t) => {
  const threshold = { distinctPages: 1, action: 'pause' } as const
  const backend = simulated({ script: [[{ step: 'spin' }]] })
  await using vm = await Vm.create({ memory: 2 ** 20, boot, backend, memoryFailure: { threshold } })
  const told: string[] = []
  vm.on('memory-failure', ({ action }) => told.push(action))
  vm.on('poison-threshold-reached', ({ action }) => told.push(action))
  await vm.reportPoison(0x8000_0000n, 1)
  t.is(vm.state, 'created')
  t.deepEqual(told, ['ignore', 'report'])
  await vm.start()
  await vm.reportPoison(0x8000_1000n, 1)
  while (vm.state !== 'paused') await new Promise((resolve) => setTimeout(resolve, 5))
  t.deepEqual(told, ['ignore', 'report', 'pause', 'pause'])
})
