import { closeSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs'
import test from 'ava'
import { type MemoryFailureEvent, Vm } from 'seawall'

const PAGE = 0x8010_0000n
const RAM = 0x8000_0000n

/** The page frame number behind a page of the guest's RAM, from /proc/self/pagemap. */
function frameOf(gpa: bigint): bigint {
  const mapping = readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .find((line) => line.includes('memfd:seawall-guest'))
  const start = BigInt(`0x${mapping?.split('-')[0]}`)
  const entry = Buffer.alloc(8)
  const pagemap = openSync('/proc/self/pagemap', 'r')
  readSync(pagemap, entry, 0, 8, Number(((start + gpa - RAM) / 4096n) * 8n))
  closeSync(pagemap)
  const word = entry.readBigUInt64LE()
  if (word >> 63n === 0n) throw new Error(`the page at 0x${gpa.toString(16)} is not present`)
  return word & ((1n << 55n) - 1n)
}

test.serial(
  'a page that the host loses under a running guest becomes an abort, and Node lives',
  async (t) => {
    const boot = { type: 'flat', image: 'build/guests/read-until-abort.bin' } as const
    await using vm = await Vm.create({ memory: 4 * 2 ** 20, boot })
    let text = ''
    const ready = new Promise<void>((resolve) => {
      vm.console.on('data', (chunk) => {
        text += chunk
        if (text.includes('ready')) resolve()
      })
    })
    const failures: MemoryFailureEvent[] = []
    vm.on('memory-failure', (event) => failures.push(event))
    await vm.start()
    await ready
    // The guest stores to the page right after it said so; then the page is there.
    for (let attempt = 0; ; attempt += 1) {
      try {
        const frame = frameOf(PAGE)
        writeFileSync('/sys/devices/system/memory/hard_offline_page', `0x${(frame * 4096n).toString(16)}`)
        break
      } catch (error) {
        if (attempt > 50) throw error
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }
    t.deepEqual(await vm.wait(), { reason: 'shutdown', vcpu: 0 })
    t.regex(text, /value=0x0*5eed\naborts=0x0*1\ndone\n$/)
    t.is(failures.length, 1)
    t.like(failures[0], {
      source: 'sigbus-ar',
      severity: 'recoverable',
      abort: null,
      signal: { code: 'BUS_MCEERR_AR', lsb: 12 },
      gva: null,
      gpa: PAGE,
      consumer: { mode: 'kernel' },
      page: { gpa: PAGE, size: 4096, first: true, hits: 1, state: 'quarantined' },
      quarantine: { method: 'hwpoison', granule: 4096 },
      action: 'inject',
      injection: { method: 'vcpu-events', result: 'ok' },
    })
  },
)

test.serial('a fetch from a page that the host has lost becomes an instruction abort', async (t) => {
  const boot = { type: 'flat', image: 'build/guests/fetch-el1.bin' } as const
  await using vm = await Vm.create({ memory: 4 * 2 ** 20, boot })
  let text = ''
  vm.console.on('data', (chunk) => {
    text += chunk
  })
  const failures: MemoryFailureEvent[] = []
  vm.on('memory-failure', (event) => failures.push(event))
  // Now the page is there, and the host can lose it.
  vm.memory.write(PAGE, new Uint8Array(4))
  writeFileSync('/sys/devices/system/memory/hard_offline_page', `0x${(frameOf(PAGE) * 4096n).toString(16)}`)
  await vm.start()
  t.deepEqual(await vm.wait(), { reason: 'shutdown', vcpu: 0 })
  t.is(failures.length, 1)
  t.like(failures[0], {
    source: 'sigbus-ar',
    injection: { method: 'vcpu-events+registers', esr: 0x8600_0010n },
  })
  const registers = 'esr=0x0000000086000010 far=0x0000000080100000 elr=0x0000000080100000'
  t.true(text.includes(registers) && text.endsWith('returned\ndone\n'), text)
})
