// A kernel without KVM_CAP_ARM_SEA_TO_USER runs guests of which nobody expects that exit. Before Linux 6.17 it moves PC only at
// the KVM_RUN after KVM_SET_VCPU_EVENTS: an abort for an access to where nothing is must not be taken for one that it ignored,
// or the guest enters its handler twice, the second time from the handler.
import test from 'ava'
import { probeHost } from 'seawall'
import { check } from '../behaviours/observe.ts'
import { unclaimedAccess } from '../behaviours/unclaimed-access.ts'

test.serial('the kernel is older than what is asked for by default', (t) => {
  t.false(probeHost().capabilities.armSeaToUser)
})

for (const behaviour of unclaimedAccess) {
  test.serial(behaviour.name, async (t) => {
    const { guest, options } = behaviour
    const less = { ...behaviour, options: { ...options, capabilities: { armSeaToUser: false } } }
    await check(t, less, { boot: { type: 'flat', image: `build/guests/${guest}.bin` } })
  })
}
