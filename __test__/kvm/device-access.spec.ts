import test from 'ava'
import { title } from '../behaviours/quarantine.ts'
import { Guest } from './guest.ts'
import { hwpoison } from './hwpoison.ts'

const PAGE = 0x8010_0000n

for (const [what, access] of [
  ['read', (guest: Guest) => guest.vm.memory.read(PAGE - 8n, 32)],
  ['write', (guest: Guest) => guest.vm.memory.write(PAGE - 8n, new Uint8Array(32))],
] as const) {
  test.serial(title(`a ${what} of ours that meets a lost page ends there, and is told`), async (t) => {
    await using guest = await Guest.create('idle')
    // Nobody in this process has the page mapped, so that the host tells nobody in advance.
    await hwpoison(PAGE)
    t.throws(() => access(guest), {
      code: 'ERR_GUEST_MEMORY',
      message: /^guest RAM at 0x80100000 cannot be accessed: the host has lost the page$/,
    })
    t.like(await guest.failure(1), {
      source: 'device-access',
      vcpu: null,
      consumer: null,
      abort: null,
      signal: { code: 'BUS_MCEERR_AR', lsb: 12 },
      gva: null,
      gpa: PAGE,
      recipient: 'hypervisor',
      severity: 'recoverable',
      action: 'ignore',
      flags: { actionRequired: false, recursive: false },
      page: { gpa: PAGE, first: true, hits: 1, state: 'quarantined' },
      ledger: { distinctPages: 1, total: 1 },
    })
    t.throws(() => access(guest), { code: 'ERR_POISONED_PAGE' })
    t.is(guest.failures.length, 1)
    t.notThrows(() => guest.vm.memory.read(PAGE - 8n, 8))
  })
}
