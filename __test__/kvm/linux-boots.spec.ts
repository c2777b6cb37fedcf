// Linux guests one after another in one process, and one on huge pages.
import { readdirSync, readFileSync } from 'node:fs'
import test from 'ava'
import { LinuxGuest } from '../../scripts/linux-guest.ts'
import { setHugePagesAside } from './huge-pages.ts'

const MIB = 2 ** 20
const BOOTS = 20
/** From then on Node has all the threads that it wants for itself. */
const WARM = 4
/** AVA's own limit is for all tests alike. */
const LIMIT_MS = 900_000

/** A line of a file in /proc that says `Name: n kB`, in bytes. */
function sizeIn(file: string, name: string): number {
  const [, kib] = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(file, 'utf8')) ?? []
  if (kib === undefined) throw new Error(`Expected a line ${name} in ${file} but found none`)
  return Number(kib) * 1024
}

/** What this process holds. */
const held = () => ({
  threads: readdirSync('/proc/self/task').length,
  fds: readdirSync('/proc/self/fd').length,
  resident: sizeIn('/proc/self/status', 'VmRSS'),
  // Guest RAM is such memory, also where nobody maps it any more.
  shared: sizeIn('/proc/meminfo', 'Shmem'),
})

test.serial(`${BOOTS} boots in a row leave no thread, no file and no memory behind`, async (t) => {
  t.timeout(LIMIT_MS)
  const after: ReturnType<typeof held>[] = []
  for (let boot = 0; boot < BOOTS; boot += 1) {
    await using guest = await LinuxGuest.boot({ vcpus: 2 })
    await guest.vm.close()
    after.push(held())
  }
  const warm = after[WARM - 1]
  const last = after.at(-1)
  t.log(JSON.stringify(warm), JSON.stringify(last))
  if (warm === undefined || last === undefined) throw new Error('Expected measurements but found none')
  t.is(last.threads, warm.threads)
  t.is(last.fds, warm.fds)
  // A guest has 256 MiB, and its kernel 40: what comes with each boot shows in so many of them.
  t.true(last.resident - warm.resident < 32 * MIB)
  t.true(last.shared - warm.shared < 32 * MIB)
})

test.serial('a Linux guest on huge pages loses 4 KiB with a page', async (t) => {
  t.timeout(LIMIT_MS)
  using _pool = setHugePagesAside(128)
  await using guest = await LinuxGuest.boot({ vcpus: 2, hugetlb: '2M' })
  guest.send('victim load')
  const { fields } = await guest.report('victim', { state: 'ready' })
  const gpa = BigInt(fields['gpa'] ?? 0)
  await guest.vm.reportPoison(gpa, 1)
  guest.send('go')
  t.like(await guest.report('signal', { program: 'victim' }), { fields: { number: '7' } })
  const [reported, ...others] = guest.failures
  t.like(reported, { source: 'reported', gpa, page: { size: 4096 }, quarantine: { granule: 4096 } })
  // The process may need the page before the guest's kernel has retired it. Then its access runs again until it has.
  for (const { source, gpa: needed } of others) t.deepEqual([source, needed], ['quarantined-page', gpa])
  t.deepEqual(
    guest.vm.poisonedPages().map(({ gpa, size }) => ({ gpa, size })),
    [{ gpa, size: 4096 }],
  )
  t.is((await guest.ask('ping it', 'pong')).fields['token'], 'it')
})
