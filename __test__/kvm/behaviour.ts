import type { ExecutionContext } from 'ava'
import type { Behaviour } from '../behaviours/behaviour.ts'
import { check } from '../behaviours/observe.ts'
import { Injector } from './injector.ts'

/** Runs a behaviour's micro-guest under KVM, with its pages lost, and checks everything it claims. */
export async function checkOnKvm(t: ExecutionContext, behaviour: Behaviour): Promise<void> {
  const injector = new Injector()
  try {
    const { arm = [], guest } = behaviour
    const rules = typeof arm === 'string' ? [arm] : arm
    for (const [index, rule] of rules.entries()) injector.arm(rule, 0x8010_0000n + BigInt(index) * 0x1000n)
    await check(t, behaviour, { boot: { type: 'flat', image: `build/guests/${guest}.bin` } })
  } finally {
    injector[Symbol.dispose]()
  }
}
