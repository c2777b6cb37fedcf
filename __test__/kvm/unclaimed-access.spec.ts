import test from 'ava'
import type { VmEvent, VmOptions } from 'seawall'
import { Guest } from './guest.ts'
import { Injector } from './injector.ts'

/** Where `mmio-hole` and `mmio-write` find nothing. */
const NOTHING = 0x1000_0000n

/** Runs a guest whose access to nothing is one of 64 bytes, as far as KVM can tell. */
async function access64(guest: string, unclaimedAccess: VmOptions['unclaimedAccess'] & string) {
  using injector = new Injector()
  injector.arm('mode=ldst64b', NOTHING)
  await using running = await Guest.create(guest, { unclaimedAccess })
  const accesses: VmEvent[] = []
  running.vm.on('unclaimed-access', (event) => accesses.push(event))
  await running.vm.start()
  const exit = await running.finish()
  return { exit, accesses, console: running.console, failures: running.failures }
}

for (const unclaimedAccess of ['abort', 'read-zero'] as const) {
  test.serial(
    `a 64-byte load from where nothing is gets an external abort (${unclaimedAccess})`,
    async (t) => {
      const { exit, accesses, console, failures } = await access64('mmio-hole', unclaimedAccess)
      t.deepEqual(exit, { reason: 'shutdown', vcpu: 0 })
      t.is(accesses.length, 1)
      // Nobody knows which eight registers it loads, so that zero cannot be read.
      t.like(accesses[0], { kind: 'ldst64b', vcpu: 0, gpa: NOTHING, write: false, action: 'abort' })
      t.deepEqual(failures, [])
      t.regex(console, /vector=0x200 esr=0x0000000096000010 far=0x0000000010000000 (?:.*\n)+done\n$/)
    },
  )
}

test.serial('a 64-byte store to where nothing is gets an external abort that says write', async (t) => {
  const { accesses, console } = await access64('mmio-write', 'abort')
  t.like(accesses[0], { kind: 'ldst64b', gpa: NOTHING, write: true, action: 'abort' })
  t.regex(console, /esr=0x0000000096000050 far=0x0000000010000000 (?:.*\n)+done\n$/)
})

test.serial('a 64-byte access to where nothing is stops the VM, if the owner says so', async (t) => {
  const { exit, accesses } = await access64('mmio-hole', 'stop')
  t.deepEqual(exit, { reason: 'policy', vcpu: 0 })
  t.like(accesses[0], { kind: 'ldst64b', action: 'stop' })
})
