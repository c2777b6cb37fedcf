import test from 'ava'
import { simulated } from 'seawall'
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
