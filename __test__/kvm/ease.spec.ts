import { execFileSync } from 'node:child_process'
import test from 'ava'
import type { Behaviour } from '../behaviours/behaviour.ts'
import { ease } from '../behaviours/selftests.ts'
import { checkOnKvm } from './behaviour.ts'

// For a host whose processor has SCTLR2_EL1. QEMU's has, but without FEAT_DoubleFault2: there a guest cannot set EASE. The
// owner of the VM can, whose write KVM sees and the processor does not.

const image = (guest: string) => `build/guests/${guest}.bin`

/** Whether EASE stays set where the guest sets it, by what the guest says of it; AVA wants to know before any test runs. */
function guestCanSetEase(): boolean {
  const source = `
    import { Vm } from 'seawall'
    const boot = { type: 'flat', image: '${image(ease.byGuest.guest)}' }
    await using vm = await Vm.create({ memory: 4 * 2 ** 20, boot })
    vm.console.pipe(process.stdout)
    await vm.start()
    await vm.wait()`
  return !`${execFileSync(process.execPath, ['--input-type=module', '--eval', source])}`.includes('no EASE')
}

for (const [declare, behaviour] of [
  [test.serial, ease.byOwner],
  [guestCanSetEase() ? test.serial : test.serial.skip, ease.byGuest],
] as [typeof test.serial, Behaviour][]) {
  const skipped = declare === test.serial ? '' : ': QEMU has no FEAT_DoubleFault2'
  declare(`${behaviour.name}${skipped}`, (t) => checkOnKvm(t, behaviour))
}
