import test from 'ava'
import { simulated } from 'seawall'
import { checkDecision, decideCases, decideScript } from './behaviours/decisions.ts'

for (const decideCase of decideCases) {
  test.serial(decideCase.name, async (t) => {
    const boot = { type: 'flat', image: new Uint8Array(4) } as const
    await checkDecision(t, decideCase, { backend: simulated({ script: decideScript(decideCase) }), boot })
  })
}
