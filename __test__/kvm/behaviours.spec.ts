import test from 'ava'
import { check } from '../behaviours/observe.ts'
import { title } from '../behaviours/quarantine.ts'
import { behaviours } from '../behaviours/table.ts'
import { Injector } from './injector.ts'

for (const behaviour of behaviours) {
  test.serial(title(behaviour.name), async (t) => {
    const injector = new Injector()
    try {
      if (behaviour.arm !== undefined) injector.arm(behaviour.arm)
      await check(t, behaviour, { boot: { type: 'flat', image: `build/guests/${behaviour.guest}.bin` } })
    } finally {
      injector[Symbol.dispose]()
    }
  })
}
