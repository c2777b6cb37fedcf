import { readFileSync, writeFileSync } from 'node:fs'
import test from 'ava'
import { SeawallError } from 'seawall'
import { quarantineMethod, title } from '../behaviours/quarantine.ts'
import { Guest } from './guest.ts'
import { Injector } from './injector.ts'

const LIMIT = '/proc/sys/vm/max_map_count'
/** What lost pages may have: half. Far more than the process has for everything else. */
const BUDGET = 1800
const GUESTS = 4
const PAGES = 500
const RAM = 0x8000_0000n
const PAGE = 4096n

const mappings = () => readFileSync('/proc/self/maps', 'utf8').split('\n').length

test.serial(
  title('VMs that lose more pages than their process has mappings for go on, and so does the process'),
  async (t) => {
    // Before the first page is lost: the limit is read once.
    const before = { most: readFileSync(LIMIT, 'utf8'), mappings: mappings() }
    t.true(before.mappings < BUDGET, `${before.mappings} mappings`)
    writeFileSync(LIMIT, String(2 * BUDGET))
    t.teardown(() => writeFileSync(LIMIT, before.most))
    using injector = new Injector()
    await using other = await Guest.create('spin')
    await other.vm.start()

    const guests: Guest[] = []
    for (let index = 0; index < GUESTS; index += 1) {
      const guest = await Guest.create('read-el1', { memory: 8 * 2 ** 20 })
      guests.push(guest)
      // Every other page, so that each is a mapping or a hole of its own.
      const pages = Array.from(
        { length: PAGES },
        (_, page) => RAM + 4n * 2n ** 20n + BigInt(page) * 2n * PAGE,
      )
      await Promise.all(pages.map((gpa) => guest.vm.reportPoison(gpa, 1)))
      t.true(guest.vm.poisonedPages().every(({ state }) => state === 'quarantined'))
      t.is(guest.vm.poisonedPages().length, PAGES)
    }
    const more = mappings() - before.mappings
    t.log(`${before.mappings} mappings, and ${more} of the VMs and their lost pages`)
    // Each VM and each of its threads has some as well.
    t.true(more > BUDGET - 10 && more < BUDGET + 200, String(more))

    // What was reported is told of a turn later.
    await new Promise((resolve) => setTimeout(resolve, 100))
    const methods = guests.flatMap(({ failures }) => failures.map(({ quarantine }) => quarantine?.method))
    t.is(methods.length, GUESTS * PAGES)
    const poisoned = quarantineMethod === 'memslot-hole' ? 0 : BUDGET / 3
    t.is(methods.filter((method) => method === 'userfaultfd').length, poisoned)
    t.is(methods.filter((method) => method === 'memslot-hole').length, GUESTS * PAGES - poisoned)

    const last = guests[GUESTS - 1] as Guest
    const [page] = last.vm.poisonedPages()
    const error = await t.throwsAsync(last.vm.replacePage(page?.gpa ?? 0n), {
      instanceOf: SeawallError,
      code: 'ERR_QUARANTINE',
    })
    t.like(error, { syscall: 'mmap', errno: 'ENOMEM' })
    for (const guest of guests) {
      injector.arm('fsc=0x10 count=1')
      await guest.vm.start()
      t.deepEqual(await guest.finish(), { reason: 'shutdown', vcpu: 0 })
      t.true(guest.console.includes('exception vector=0x200 esr=0x0000000096000010'), guest.console)
    }
    t.is(other.vm.state, 'running')
  },
)
