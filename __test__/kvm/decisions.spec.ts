import test from 'ava'
import { checkDecision, decideCases } from '../behaviours/decisions.ts'
import { Injector } from './injector.ts'

for (const decideCase of decideCases) {
  test.serial(decideCase.name, async (t) => {
    const injector = new Injector()
    try {
      injector.arm(`fsc=0x10 set=${decideCase.set ?? 0}`)
      await checkDecision(t, decideCase, { boot: { type: 'flat', image: 'build/guests/read-marked.bin' } })
    } finally {
      injector[Symbol.dispose]()
    }
  })
}
