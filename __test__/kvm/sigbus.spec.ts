import { readFileSync } from 'node:fs'
import test from 'ava'
import { SeawallError, type Vm } from 'seawall'
import { title } from '../behaviours/quarantine.ts'
import { loseFrameAt } from './frame.ts'
import { Guest } from './guest.ts'
import { hwpoison } from './hwpoison.ts'
import { InStep } from './in-step.ts'

const PAGE = 0x8010_0000n
const RAM = 0x8000_0000n

/** Where a page of the only guest's RAM lies in this process. */
function addressOf(gpa: bigint): bigint {
  const mapping = readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .find((line) => line.includes('memfd:seawall-guest'))
  return BigInt(`0x${mapping?.split('-')[0]}`) + gpa - RAM
}

test.serial(
  title('a page that the host loses under a running guest becomes an abort, and Node lives'),
  async (t) => {
    await using guest = await Guest.create('read-until-abort')
    await guest.vm.start()
    await guest.ready
    loseFrameAt(addressOf(PAGE))
    t.deepEqual(await guest.finish(), { reason: 'shutdown', vcpu: 0 })
    t.regex(guest.console, /value=0x0*5eed\naborts=0x0*1\ndone\n$/)
    // The guest's access and the host's own notice race. The access is told in any case, the notice where it was first.
    const [touch, ...others] = guest.failures.filter(({ vcpu }) => vcpu !== null)
    const notices = guest.failures.filter(({ vcpu }) => vcpu === null)
    t.is(others.length, 0)
    t.true(notices.length <= 1 && notices.every(({ source }) => source === 'sigbus-ao'))
    if (notices.length === 0) t.like(touch, { source: 'sigbus-ar', page: { first: true, hits: 1 } })
    t.like(touch, {
      vcpu: 0,
      severity: 'recoverable',
      abort: null,
      signal: { code: 'BUS_MCEERR_AR', lsb: 12 },
      gva: null,
      gpa: PAGE,
      consumer: { mode: 'kernel' },
      page: { gpa: PAGE, size: 4096, state: 'quarantined' },
      quarantine: { method: 'hwpoison', granule: 4096 },
      action: 'inject',
      injection: { method: 'vcpu-events', result: 'ok' },
    })
  },
)

const restored = 'vcpu-events+registers'
/** An access to the page that the host has lost, and what the guest's handler has to read. */
const accesses = [
  ['a read at EL1', 'read-el1', { esr: 0x9600_0010n, far: PAGE + 0x10n }, 'vcpu-events'],
  ['a read at EL0', 'read-el0', { esr: 0x9200_0010n, far: PAGE + 0x10n }, 'vcpu-events'],
  // The kernel's injection does not say that it was a write, and the signal did not either.
  ['a write at EL1', 'write-el1', { esr: 0x9600_0010n, far: PAGE + 0x10n }, 'vcpu-events'],
  ['a write at EL0', 'write-el0', { esr: 0x9200_0010n, far: PAGE + 0x10n }, 'vcpu-events'],
  ['an instruction fetch at EL1', 'fetch-el1', { esr: 0x8600_0010n, far: PAGE }, restored],
  ['an instruction fetch at EL0', 'fetch-el0', { esr: 0x8200_0010n, far: PAGE }, restored],
  [
    'a read by a table walk, at level 2,',
    'walk-el1',
    { esr: 0x9600_0016n, far: 0xc000_0010n },
    'vcpu-events',
  ],
  [
    'a fetch by a table walk, at level 2,',
    'walk-fetch-el1',
    { esr: 0x8600_0016n, far: 0xc000_0010n },
    restored,
  ],
] as const

for (const [what, name, { esr, far }, method] of accesses) {
  test.serial(
    title(`${what} of a page that the host has lost becomes the abort of that access`),
    async (t) => {
      await using guest = await Guest.create(name)
      // The page is not mapped here yet: so nobody is told before the guest needs it.
      t.regex(await hwpoison(PAGE), /^poisoned pid=\d+ offset=0x100000 bytes=0x1000/)
      await guest.vm.start()
      t.deepEqual(await guest.finish(), { reason: 'shutdown', vcpu: 0 })
      t.is(guest.failures.length, 1)
      const [failure] = guest.failures
      t.like(failure, {
        source: 'sigbus-ar',
        signal: { code: 'BUS_MCEERR_AR', lsb: 12 },
        abort: null,
        gva: null,
        gpa: PAGE,
        consumer: { mode: name.endsWith('el0') ? 'user' : 'kernel' },
        quarantine: { method: 'hwpoison', granule: 4096 },
        injection: { method, result: 'ok', esr },
      })
      const hex = (value: bigint | null | undefined) => `0x${value?.toString(16).padStart(16, '0')}`
      const registers = `esr=${hex(esr)} far=${hex(far)} elr=${hex(failure?.consumer?.pc)}`
      t.true(
        guest.console.includes(`exception vector=${name.endsWith('el0') ? '0x400' : '0x200'} ${registers}`),
      )
      t.true(guest.console.endsWith('done\n'), guest.console)
    },
  )
}

test.serial(
  title('two vCPUs touch one page that the host has lost, and each gets its own aborts'),
  async (t) => {
    await using guest = await Guest.create('two-readers', {
      vcpus: 2,
      memoryFailure: { sameFaultLimit: 1000 },
    })
    await hwpoison(PAGE)
    await guest.vm.start()
    t.is((await guest.finish()).reason, 'shutdown')
    t.regex(guest.console, /cpu=0 aborts=0x0*c8\ncpu=1 aborts=0x0*c8\ndone\n$/)
    const of = (vcpu: number) => guest.failures.filter((failure) => failure.vcpu === vcpu).length
    t.deepEqual([of(0), of(1)], [200, 200])
    // Whose event comes first is not who was first: the ledger says that.
    const first = guest.failures.filter(({ page }) => page?.first === true)
    t.like(first, [{ source: 'sigbus-ar', page: { hits: 1 } }])
    t.is(first.length, 1)
    t.like(guest.failures.at(-1), { source: 'quarantined-page' })
    t.true(guest.failures.every(({ quarantine }) => quarantine?.method === 'hwpoison'))
    t.is(Math.max(...guest.failures.map(({ ledger }) => ledger.total)), 400)
    t.is(Math.max(...guest.failures.map(({ ledger }) => ledger.distinctPages)), 1)
  },
)

test.serial(
  title('vCPUs touch pages that the host has lost at the same moment, one after the other'),
  async (t) => {
    await using inStep = await InStep.create({ vcpus: 3, pages: 16, again: 1, untouched: true })
    const { guest, pages } = inStep
    for (const page of pages) await hwpoison(page)
    await guest.vm.start()
    t.deepEqual(await guest.vm.wait(), { reason: 'shutdown', vcpu: 0 }, guest.console)
    t.deepEqual(
      guest.vm.poisonedPages().map(({ gpa, hits, source }) => ({ gpa, hits, source })),
      pages.map((gpa) => ({ gpa, hits: 6, source: 'sigbus-ar' })),
    )
    await guest.finish()
    const report = { aborts: 32, before: 0, after: 0, wrong: 0 }
    t.deepEqual(inStep.reports(), [report, report, report])
    t.is(guest.failures.length, 96)
    t.true(guest.failures.every(({ signal }) => signal?.code === 'BUS_MCEERR_AR' && signal.lsb === 12))
  },
)

test.serial(title('vCPUs use pages while the host loses them, and none loses an abort'), async (t) => {
  await using inStep = await InStep.create({ vcpus: 3, pages: 16, again: 2 })
  const { guest, pages } = inStep
  await guest.vm.start()
  // The vCPUs load from a page until they get an abort; then they come to the next one.
  for (const page of pages) await hwpoison(page)
  t.deepEqual(await guest.vm.wait(), { reason: 'shutdown', vcpu: 0 }, guest.console)
  t.deepEqual(
    guest.vm.poisonedPages().map(({ gpa, state }) => ({ gpa, state })),
    pages.map((gpa) => ({ gpa, state: 'quarantined' })),
  )
  await guest.finish()
  const reports = inStep.reports()
  t.log(`loads that ended before the host had lost the page: ${reports.map(({ before }) => before)}`)
  for (const [vcpu, report] of reports.entries()) {
    t.like(report, { aborts: 48, after: 0, wrong: 0 }, `vCPU ${vcpu}`)
    const touches = guest.failures.filter((failure) => failure.vcpu === vcpu)
    t.is(touches.length, 48)
    t.true(touches.every(({ signal, injection }) => signal !== null && injection?.result === 'ok'))
  }
  const notices = guest.failures.filter(({ vcpu }) => vcpu === null)
  t.true(notices.every(({ source, injection }) => source === 'sigbus-ao' && injection === null))
  t.true(guest.failures.every(({ quarantine }) => quarantine?.method === 'hwpoison'))
})

for (const [what, access] of [
  ['read', (vm: Vm) => vm.memory.read(PAGE - 0x1000n, 0x3000)],
  ['write', (vm: Vm) => vm.memory.write(PAGE - 0x1000n, new Uint8Array(0x3000))],
] as const) {
  test.serial(
    title(`a ${what} of guest memory fails while the host loses the page, and Node lives`),
    async (t) => {
      await using guest = await Guest.create('spin')
      const { vm } = guest
      access(vm)
      let poisoned = false
      let ended = 0
      const poisons = hwpoison(PAGE).then(() => {
        poisoned = true
      })
      // The copies go on while the page is lost; the event loop gets its turn between them.
      let error: unknown
      while (error === undefined) {
        for (let copies = 0; copies < 1000 && error === undefined; copies += 1) {
          try {
            access(vm)
            ended += 1
          } catch (thrown) {
            error = thrown
          }
        }
        await new Promise((resolve) => setImmediate(resolve))
      }
      t.log(`${ended} copies, then an error, ${poisoned ? 'after' : 'before'} the program had said so`)
      await poisons
      t.true(error instanceof SeawallError)
      t.true(['ERR_GUEST_MEMORY', 'ERR_POISONED_PAGE'].includes((error as SeawallError).code))
      // Told once, by the host's own notice or by the copy.
      const failure = await guest.failure(1)
      t.true(['sigbus-ao', 'device-access'].includes(failure.source), failure.source)
      t.like(failure, { vcpu: null, consumer: null, gpa: PAGE, action: 'ignore', injection: null })
      t.throws(() => access(vm), { code: 'ERR_POISONED_PAGE' })
      t.notThrows(() => vm.memory.read(PAGE - 0x1000n, 0x1000))
      t.notThrows(() => vm.memory.read(PAGE + 0x1000n, 0x1000))
      await vm.close()
      t.is(guest.failures.length, 1)
    },
  )
}
