import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from 'node:fs'
import test from 'ava'
import { title } from '../behaviours/quarantine.ts'
import { loseFrameAt } from './frame.ts'
import { Guest } from './guest.ts'
import { hwpoison } from './hwpoison.ts'
import { Injector } from './injector.ts'

const PAGE = 0x8010_0000n

/** What an event says of an error that the host found before anybody needed the page. */
const inAdvance = {
  source: 'sigbus-ao',
  vcpu: null,
  severity: 'recoverable',
  abort: null,
  signal: { code: 'BUS_MCEERR_AO', lsb: 12 },
  gva: null,
  gpa: PAGE,
  consumer: null,
  page: { gpa: PAGE, size: 4096, first: true, hits: 1, state: 'quarantined' },
  quarantine: { method: 'hwpoison', granule: 4096 },
  action: 'ignore',
  injection: null,
  flags: { actionRequired: false, recursive: false },
} as const

test.serial(title('a page that the host loses before anybody needs it is told in advance'), async (t) => {
  await using guest = await Guest.create('read-el0')
  guest.vm.memory.write(PAGE, new Uint8Array(8))
  await hwpoison(PAGE)
  t.like(await guest.failure(1), { ...inAdvance, ledger: { distinctPages: 1, total: 1 } })
  t.like(guest.vm.poisonedPages(), [{ gpa: PAGE, source: 'sigbus-ao', state: 'quarantined' }])
  t.throws(() => guest.vm.memory.read(PAGE, 8), { code: 'ERR_POISONED_PAGE' })

  // The guest does not know yet.
  await guest.vm.start()
  t.deepEqual(await guest.finish(), { reason: 'shutdown', vcpu: 0 })
  t.is(guest.failures.length, 2)
  t.like(guest.failures[1], {
    source: 'quarantined-page',
    vcpu: 0,
    signal: { code: 'BUS_MCEERR_AR', lsb: 12 },
    page: { first: false, hits: 2, state: 'quarantined' },
    quarantine: { method: 'hwpoison', granule: 4096 },
    action: 'inject',
    injection: { result: 'ok', esr: 0x9200_0010n },
    ledger: { distinctPages: 1, total: 2 },
  })
  t.regex(guest.console, /esr=0x0000000092000010 far=0x0000000080100010 (?:.*\n)+done\n$/)
})

test.serial(title('a page that the host loses under a sleeping guest is told while it sleeps'), async (t) => {
  await using guest = await Guest.create('idle', { vcpus: 2 })
  guest.vm.memory.write(PAGE, new Uint8Array(8))
  await guest.vm.start()
  await hwpoison(PAGE)
  t.like(await guest.failure(1), inAdvance)
  t.is(guest.vm.state, 'running')
})

test.serial(title('of two VMs the one is told whose page the host has lost'), async (t) => {
  await using first = await Guest.create('idle')
  await using second = await Guest.create('idle')
  for (const { vm } of [first, second]) {
    vm.memory.write(PAGE, new Uint8Array(0x2000))
    await vm.start()
  }
  await hwpoison(PAGE, 1)
  t.like(await second.failure(1), { ...inAdvance, vm: { id: second.vm.id } })
  await hwpoison(PAGE + 0x1000n, 0)
  t.like(await first.failure(1), { source: 'sigbus-ao', vm: { id: first.vm.id }, gpa: PAGE + 0x1000n })
  t.notThrows(() => first.vm.memory.read(PAGE, 0x1000))
  t.notThrows(() => second.vm.memory.read(PAGE + 0x1000n, 0x1000))
  t.deepEqual([first.failures.length, second.failures.length], [1, 1])
})

test.serial(title('a page of a VM that is closed concerns nobody'), async (t) => {
  await using other = await Guest.create('idle')
  const closed = await Guest.create('idle')
  for (const { vm } of [other, closed]) vm.memory.write(PAGE, new Uint8Array(8))
  // Somebody else keeps the memory; it is the last of the three files.
  const file = openSync(`/proc/self/fd/${guestMemories().at(-1)}`, 'r')
  await closed.vm.close()
  t.is(guestMemories().length, 2)
  await hwpoison(PAGE, guestMemories().indexOf(file))
  // What comes later is told, and nothing before it.
  await hwpoison(PAGE, 1 - guestMemories().indexOf(file))
  t.like(await other.failure(1), inAdvance)
  t.deepEqual([other.failures.length, closed.failures.length], [1, 0])
  closeSync(file)
})

test.serial(title('memory of the process that is no guest RAM concerns no VM'), async (t) => {
  await using guest = await Guest.create('idle')
  guest.vm.memory.write(PAGE, new Uint8Array(8))
  const mark = process.hrtime.bigint()
  const words = new BigUint64Array(2 ** 20).fill(mark)
  loseFrameAt(addressOf(mark) + 0x10_0000n)
  await hwpoison(PAGE)
  t.like(await guest.failure(1), inAdvance)
  t.is(guest.failures.length, 1)
  t.is(words[0], mark)
})

test.serial(
  title('a page that was taken away already is not told again when the host loses it'),
  async (t) => {
    using injector = new Injector()
    injector.arm('fsc=0x10 count=1')
    await using guest = await Guest.create('read-el1')
    guest.vm.memory.write(PAGE, new Uint8Array(0x2000))
    await guest.vm.start()
    await guest.vm.wait()
    await hwpoison(PAGE)
    await hwpoison(PAGE + 0x1000n)
    t.like(await guest.failure(2), { source: 'sigbus-ao', gpa: PAGE + 0x1000n })
    t.like(guest.failures[0], { source: 'sea', gpa: PAGE })
    t.deepEqual(
      guest.vm.poisonedPages().map(({ gpa, hits }) => ({ gpa, hits })),
      [
        { gpa: PAGE, hits: 1 },
        { gpa: PAGE + 0x1000n, hits: 1 },
      ],
    )
  },
)

/** The descriptors of all guest RAM in this process, in order. */
function guestMemories(): number[] {
  const descriptors = readdirSync('/proc/self/fd').map(Number)
  return descriptors.filter((descriptor) => isGuestMemory(descriptor)).sort((a, b) => a - b)
}

function isGuestMemory(descriptor: number): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`).startsWith('/memfd:seawall-guest')
  } catch {
    return false
  }
}

/** Where a large array of this process lies whose words are all `mark`. */
function addressOf(mark: bigint): bigint {
  const memory = openSync('/proc/self/mem', 'r')
  const word = Buffer.alloc(8)
  try {
    for (const line of readFileSync('/proc/self/maps', 'utf8').split('\n')) {
      const [, start, end] = /^([0-9a-f]+)-([0-9a-f]+) rw-p 00000000 00:00 0 *$/.exec(line) ?? []
      if (start === undefined || Number(`0x${end}`) - Number(`0x${start}`) < 2 ** 23) continue
      const address = BigInt(`0x${start}`) + 0x1000n
      readSync(memory, word, 0, 8, Number(address))
      if (word.readBigUInt64LE() === mark) return address
    }
  } finally {
    closeSync(memory)
  }
  throw new Error('Expected the array in the maps of this process but found none')
}
