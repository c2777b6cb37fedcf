import test from 'ava'
import { Vm, type VmEvent } from 'seawall'
import { lostPages } from '../behaviours/lost-pages.ts'
import { quarantineMethod, title } from '../behaviours/quarantine.ts'
import { checkOnKvm } from './behaviour.ts'
import { Guest } from './guest.ts'
import { setHugePagesAside } from './huge-pages.ts'

const PAGE = 0x8010_0000n

for (const behaviour of lostPages) {
  test.serial(title(behaviour.name), (t) => checkOnKvm(t, behaviour))
}

/** Loses pages of a VM and closes it. */
async function lose(vm: Vm, pages: number): Promise<{ left: number; changed: VmEvent[] }> {
  const changed: VmEvent[] = []
  vm.on('page-state-changed', (event) => changed.push(event))
  await vm.reportPoison(PAGE, pages * 4096)
  const { unretiredHostPages } = await vm.close()
  return { left: unretiredHostPages, changed }
}

test.serial(title('a closing VM takes its lost pages out of the use of the host, and says so'), async (t) => {
  const { vm } = await Guest.create('idle')
  await vm.start()
  const { left, changed } = await lose(vm, 3)
  t.is(left, 0)
  t.is(changed.length, 3)
  for (const [index, event] of changed.entries()) {
    t.like(event, {
      from: 'quarantined',
      page: { gpa: PAGE + BigInt(index) * 4096n, state: 'host-offlined', source: 'reported' },
    })
  }
})

test.serial(title('both a page and what replaced it are taken out of use'), async (t) => {
  const { vm } = await Guest.create('idle')
  await vm.reportPoison(PAGE, 1)
  await vm.replacePage(PAGE)
  const { left, changed } = await lose(vm, 1)
  t.is(left, 0)
  const states = changed.map((event) => event.type === 'page-state-changed' && event.page.state)
  t.deepEqual(states, ['replaced', 'host-offlined'].slice(-states.length))
})

test.serial(
  title('two hundred pages are taken under a running guest, and what lies around them stays'),
  async (t) => {
    const { vm } = await Guest.create('idle', { memory: 32 * 2 ** 20 })
    await vm.start()
    await vm.reportPoison(PAGE, 200 * 4096)
    t.is(vm.poisonedPages().length, 200)
    t.true(vm.poisonedPages().every(({ state }) => state === 'quarantined'))
    t.notThrows(() => vm.memory.read(PAGE - 4096n, 4096))
    t.notThrows(() => vm.memory.read(PAGE + 200n * 4096n, 4096))
    await vm.pause()
    await vm.resume()
    t.is((await vm.close()).unretiredHostPages, 0)
  },
)

if (quarantineMethod === 'userfaultfd') {
  test.serial(
    'a VM that loses more pages than a process has mappings for is told so, and lives',
    async (t) => {
      const { vm } = await Guest.create('idle', { memory: 32 * 2 ** 20 })
      await vm.start()
      await vm.reportPoison(PAGE, 4096 * 4096)
      const next = PAGE + 4096n * 4096n
      await t.throwsAsync(vm.reportPoison(next, 1), {
        code: 'ERR_QUARANTINE',
        message:
          /^the page of guest RAM at 0x81100000 could not be taken out of reach: 4096 pages of this VM are in quarantine/,
      })
      const last = vm.poisonedPages().at(-1)
      t.like(last, { gpa: next, state: 'poisoned' })
      t.throws(() => vm.memory.read(next, 1), { code: 'ERR_POISONED_PAGE' })
      t.is(vm.state, 'running')
      const { unretiredHostPages } = await vm.close()
      t.true(unretiredHostPages >= 1, 'at least the one that was never held')
    },
  )

  test.serial('a guest of huge pages loses 4 KiB by a hole, and nothing more', async (t) => {
    using _pool = setHugePagesAside(2)
    const guest = await Guest.create('read-el0', { hugetlb: '2M' })
    t.is(guest.vm.memory.read(PAGE - 4096n, 3 * 4096).length, 3 * 4096)
    await guest.vm.reportPoison(PAGE, 1)
    t.like(guest.failures[0], {
      source: 'reported',
      page: { gpa: PAGE, size: 4096 },
      quarantine: { method: 'memslot-hole', granule: 4096 },
    })
    await t.throwsAsync(guest.vm.replacePage(PAGE), {
      code: 'ERR_QUARANTINE',
      message: /could not be replaced: memory of huge pages cannot be replaced in parts$/,
    })
    await guest.vm.start()
    t.deepEqual(await guest.finish(), { reason: 'shutdown', vcpu: 0 })
    t.like(guest.failures[1], { source: 'quarantined-page', action: 'inject' })
    t.regex(guest.console, /esr=0x0000000092000010 far=0x0000000080100010 (?:.*\n)+done\n$/)
  })

  test.serial('huge pages that the host has not set aside are an error that says so', async (t) => {
    const boot = { type: 'flat', image: new Uint8Array(4) } as const
    await t.throwsAsync(Vm.create({ memory: 4 * 2 ** 20, hugetlb: '2M', boot }), {
      code: 'ERR_OUT_OF_RESOURCES',
      message: /mmap.*ENOMEM/,
    })
    await t.throwsAsync(Vm.create({ memory: 3 * 2 ** 20, hugetlb: '2M', boot }), {
      code: 'ERR_INVALID_OPTION',
      message: /^Expected a non-zero multiple of 2097152 bytes for memory but received 3145728$/,
    })
  })
}
