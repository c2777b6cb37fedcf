// Memory errors while a Linux guest boots. What dies is the guest: by its own panic, because the policy stops it, or by hanging
// where it has no handler for aborts yet, until it is stopped.
import test from 'ava'
import type { Vcpu } from 'seawall'
import { COMMAND_LINE, INITRD, KERNEL, LinuxGuest } from '../../scripts/linux-guest.ts'
import { zap } from '../../scripts/zap.ts'
import { Injector } from './injector.ts'
import { translate } from './translation.ts'

const RAM = 0x8000_0000n
const PAGE = 4096n
/** Boots, on an emulated host that may be busy; AVA's own limit is for all tests alike. */
const LIMIT_MS = 600_000
/** After this time without an end the guest is taken to hang. */
const DEATH_MS = 10_000

/** Whether the guest has come as far as is wanted; it is paused. */
type Reached = (guest: LinuxGuest, vcpu: Vcpu) => Promise<boolean>

const theKernelIsMapped: Reached = async (_, vcpu) => (await vcpu.getRegister('pc')) >> 63n === 1n
/** The interrupt controller is KVM's, so that the first access to a device is the console's driver's. */
const driversStart: Reached = async ({ vm }) => (vm.stats().exits['mmio'] ?? 0n) > 0n

const moments: readonly [when: string, what: 'pc' | 'sp_el1', reached: Reached | null, rule: string][] = [
  ['the first instruction, before it runs,', 'pc', null, 'fsc=0x10'],
  ['the running instruction, early,', 'pc', theKernelIsMapped, 'fsc=0x10 count=1'],
  ['the stack, early,', 'sp_el1', theKernelIsMapped, 'fsc=0x10'],
  ['the running instruction, among the drivers,', 'pc', driversStart, 'fsc=0x10'],
]

for (const [when, what, reached, rule] of moments) {
  test.serial(`a guest that loses the page of ${when} dies alone (${rule})`, async (t) => {
    t.timeout(LIMIT_MS)
    using injector = new Injector()
    // An oops is the end, so that it does not depend on who has it.
    const boot = {
      type: 'linux',
      kernel: KERNEL,
      initrd: INITRD,
      cmdline: `${COMMAND_LINE} oops=panic`,
    } as const
    await using guest = await LinuxGuest.create({ boot })
    const { vm } = guest
    const [vcpu] = vm.vcpus
    if (vcpu === undefined) throw new Error('Expected a vCPU but found none')
    if (reached !== null) {
      await vm.start()
      await vm.pause()
      while (!(await reached(guest, vcpu))) {
        await vm.resume()
        await new Promise((resolve) => setTimeout(resolve, 50))
        await vm.pause()
      }
    }
    const gva = await vcpu.getRegister(what)
    const gpa = gva >= RAM && gva >> 63n === 0n ? gva : (await translate(vm, vcpu, gva))?.gpa
    t.true(gpa !== undefined && gpa >= RAM, `0x${gva.toString(16)}`)
    const page = (gpa ?? 0n) & -PAGE
    injector.arm(rule, page, PAGE)
    await zap(page)
    await (reached === null ? vm.start() : vm.resume())
    await guest.until('a memory error', () => guest.failures.length > 0 || undefined)
    await guest.hear(() => false, DEATH_MS)
    if (!guest.hasEnded) await vm.stop()
    const { reason } = await guest.finish()
    const [first] = guest.failures
    t.log(`${reason} after ${guest.failures.length}, the first at 0x${first?.consumer?.pc?.toString(16)}`)
    t.like(first, { source: 'sea', gpa: page, consumer: { mode: 'kernel' }, injection: { result: 'ok' } })
    t.true(['reset', 'policy', 'requested'].includes(reason), reason)
    t.notRegex(guest.console, /seawall: ready/)
  })
}
