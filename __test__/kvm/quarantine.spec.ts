import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { quarantineMethod, taken, title, touched } from '../behaviours/quarantine.ts'
import { Guest } from './guest.ts'
import { InStep } from './in-step.ts'
import { Injector } from './injector.ts'

const PAGES = 48
const AGAIN = 3

for (const vcpus of [2, 3, 4]) {
  test.serial(
    title(`${vcpus} vCPUs use a page while it is taken away, and none loses an abort`),
    async (t) => {
      using injector = new Injector()
      await using inStep = await InStep.create({ vcpus, pages: PAGES, again: AGAIN })
      const { guest, pages } = inStep
      // One abort each: who comes next meets the quarantine, or the window before it.
      for (const page of pages) injector.arm('fsc=0x10 count=1', page)
      await guest.vm.start()
      t.deepEqual(await guest.vm.wait(), { reason: 'shutdown', vcpu: 0 }, guest.console)
      const lost = guest.vm.poisonedPages()
      await guest.finish()

      const aborts = PAGES * (1 + AGAIN)
      const reports = inStep.reports()
      t.log(`loads that ended before the page was out of reach: ${reports.map(({ before }) => before)}`)
      for (const [vcpu, report] of reports.entries()) {
        t.like(report, { aborts, after: 0, wrong: 0 }, `vCPU ${vcpu}`)
      }
      t.deepEqual(
        lost.map(({ gpa, size, hits, state }) => ({ gpa, size, hits, state })),
        pages.map((gpa) => ({ gpa, size: 4096, hits: vcpus * (1 + AGAIN), state: 'quarantined' })),
      )
      const of = (vcpu: number) => guest.failures.filter((failure) => failure.vcpu === vcpu).length
      t.deepEqual(
        reports.map((_, vcpu) => of(vcpu)),
        reports.map(() => aborts),
      )
      t.is(guest.failures.filter(({ source }) => source === 'sea').length, PAGES)
      // Of two vCPUs the one that was counted first may tell last.
      const totals = guest.failures.map(({ ledger }) => ledger.total).sort((a, b) => a - b)
      t.deepEqual(
        totals,
        totals.map((_, index) => index + 1),
      )
      t.is(Math.max(...guest.failures.map(({ ledger }) => ledger.distinctPages)), PAGES)
      for (const failure of guest.failures) {
        t.like(failure, { quarantine: taken, injection: { result: 'ok' } })
        if (failure.source !== 'sea') t.like(failure, touched)
      }
    },
  )
}

for (const [what, name, second] of [
  ['a fetch from', 'fetch-twice', 'esr=0x0000000086000010 far=0x0000000080100020'],
  ['a table walk through', 'walk-after-read', 'esr=0x0000000096000016 far=0x00000000c0000010'],
] as const) {
  test.serial(title(`${what} a page that was taken away becomes the abort of that access`), async (t) => {
    using injector = new Injector()
    injector.arm('fsc=0x10 count=1')
    await using guest = await Guest.create(name)
    guest.vm.memory.write(0x8010_0000n, new Uint8Array(8))
    await guest.vm.start()
    t.deepEqual(await guest.finish(), { reason: 'shutdown', vcpu: 0 })
    const exceptions = guest.console.split('\n').filter((line) => line.startsWith('exception '))
    t.is(exceptions.length, 2, guest.console)
    t.true(exceptions[1]?.includes(second), guest.console)
    t.true(guest.console.endsWith('done\n'), guest.console)
    t.like(guest.failures[0], { source: 'sea', quarantine: taken })
    // Where there is no memory any more the kernel injects both by itself, and nobody hears of it.
    if (quarantineMethod === 'memslot-hole') t.is(guest.failures.length, 1)
    else t.like(guest.failures[1], { ...touched, quarantine: taken, injection: { result: 'ok' } })
  })
}

test.serial(title('every data access to a page that was taken away becomes its own abort'), async (t) => {
  using injector = new Injector()
  injector.arm('fsc=0x10 count=1')
  await using guest = await Guest.create('touch-again')
  await guest.vm.start()
  t.deepEqual(await guest.finish(), { reason: 'shutdown', vcpu: 0 })
  // Without memory the access is an exit that says whether it was a write; a signal does not, and the kernel neither.
  const write = quarantineMethod === 'memslot-hole' ? 0x9600_0050n : 0x9600_0010n
  const read = 0x9600_0010n
  const expected = [
    [read, 0x8010_0010n],
    [write, 0x8010_0020n],
    [read, 0x8010_0031n],
    [read, 0x8010_0040n],
    [read, 0x8010_0050n],
    [write, 0x8010_0060n],
    [read, 0x8010_0070n],
  ] as const
  const registers = [...guest.console.matchAll(/^exception vector=0x200 esr=(\w+) far=(\w+) elr=(\w+)/gm)]
  t.deepEqual<unknown, unknown>(
    registers.map(([, esr, far]) => [BigInt(esr ?? 0), BigInt(far ?? 0)]),
    expected,
  )
  t.true(guest.console.endsWith('done\n'), guest.console)
  t.is(guest.failures.length, expected.length)
  for (const [index, failure] of guest.failures.entries()) {
    const [, , , elr] = registers[index] ?? []
    const consumer = { mode: 'kernel', pc: BigInt(elr ?? 0) } as const
    t.like(failure, { gpa: 0x8010_0000n, consumer, quarantine: taken, page: { hits: index + 1 } })
    if (index > 0) t.like(failure, touched)
  }
})

test.serial(
  title('an access that lies in a page that was taken away for a part alone is aborted as a whole'),
  async (t) => {
    await using guest = await Guest.create('cross-page')
    const { vm } = guest
    const unclaimed: bigint[] = []
    vm.on('unclaimed-access', ({ gpa }) => unclaimed.push(gpa))
    await vm.reportPoison(0x8010_0000n, 1)
    await vm.start()
    t.deepEqual(await guest.finish(), { reason: 'shutdown', vcpu: 0 })
    t.true(guest.console.endsWith('done\n'), guest.console)
    const [reported, ...touches] = guest.failures
    t.like(reported, { source: 'reported', quarantine: taken })
    // A load, a store, a pair of each and a vector, from the page before and into the page behind.
    t.is(touches.length, 10)
    for (const touch of touches)
      t.like(touch, { ...touched, gpa: 0x8010_0000n, quarantine: taken, injection: { result: 'ok' } })
    // The last begins in RAM and ends where nothing is.
    t.deepEqual(unclaimed, [0x8040_0000n])
    t.is(guest.console.match(/^exception vector=0x200 esr=0x000000009600/gm)?.length, 11, guest.console)
  },
)

test.serial(
  title('vCPUs lose pages that nobody had used, in a process that may lock no memory'),
  async (t) => {
    const program = fileURLToPath(new URL('untouched-pages.js', import.meta.url))
    for (let round = 0; round < 2; round += 1) {
      const { stdout } = await promisify(execFile)('sh', [
        '-c',
        `ulimit -l 0 && exec "$0" "$1"`,
        process.execPath,
        program,
      ])
      const result = JSON.parse(stdout)
      t.deepEqual(
        { reason: result.reason, error: result.error, hits: result.hits },
        { reason: 'shutdown', error: undefined, hits: Array.from({ length: 48 }, () => 6) },
      )
      for (const report of result.reports) t.like(report, { aborts: 96, after: 0, wrong: 0 })
    }
  },
)
