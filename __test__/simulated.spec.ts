import test from 'ava'
import { simulated, Vm } from 'seawall'
import { families } from './behaviours/families.ts'
import { check } from './behaviours/observe.ts'
import { ease, selftests } from './behaviours/selftests.ts'
import { behaviours } from './behaviours/table.ts'

for (const behaviour of [...families, ...behaviours, ...selftests, ease.byOwner, ease.byGuest]) {
  test(behaviour.name, async (t) => {
    const boot = { type: 'flat', image: new Uint8Array(4) } as const
    await check(t, behaviour, { backend: simulated({ script: behaviour.script }), boot })
  })
}

test('a vCPU that runs for a time is in the guest until then, or until the VM is paused', async (t) => {
  const boot = { type: 'flat', image: new Uint8Array(4) } as const
  const create = (us: number) =>
    Vm.create({
      memory: 2 ** 20,
      boot,
      backend: simulated({ script: [[{ step: 'run', us }, { step: 'shutdown' }]] }),
    })
  await using short = await create(1)
  await short.start()
  t.is((await short.wait()).reason, 'shutdown')
  t.is(short.stats().exits['intr'], 0n)
  await using long = await create(60_000_000)
  await long.start()
  await long.pause()
  await long.resume()
  t.is(long.state, 'running')
  t.is((await long.stop()).reason, 'requested')
})
