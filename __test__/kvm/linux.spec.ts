// A Linux guest of the lab: boots, console, resets, pauses; in one Node process, again and again.
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import test, { type ExecutionContext } from 'ava'
import { COMMAND_LINE, INITRD, KERNEL, LinuxGuest } from '../../scripts/linux-guest.ts'
import { Injector } from './injector.ts'

const RAM = 0x8000_0000n
const PAGE = 4096n
/** Each byte costs the guest several exits, of which an emulated host has some thousand a second: a MiB takes many minutes. */
const ECHO_BYTES = Number(process.env['SEAWALL_ECHO_BYTES'] ?? 8 * 1024)
/** A guest answers within seconds; on a busy emulated host it may need more. AVA's own limit is for all tests alike. */
const LIMIT_MS = 900_000

async function powerOff(t: ExecutionContext, guest: LinuxGuest): Promise<void> {
  guest.send('poweroff')
  t.like(await guest.finish(), { reason: 'shutdown' })
}

/** Takes a page out of stage 2, so that its next access faults. */
async function zap(gpa: bigint): Promise<void> {
  await promisify(execFile)('zap', [String(process.pid), `0x${(gpa - RAM).toString(16)}`])
}

/** Has a process of the guest wait with a page of its own, and says where the page lies. */
async function victim(guest: LinuxGuest, use: 'load' | 'fetch' | 'write'): Promise<bigint> {
  guest.send(`victim ${use}`)
  const { fields } = await guest.report('victim', { state: 'ready' })
  return BigInt(fields['gpa'] ?? 0)
}

test.serial('a Linux guest with one vCPU boots from a gzip file, answers, and powers off', async (t) => {
  t.timeout(LIMIT_MS)
  const folder = mkdtempSync(join(tmpdir(), 'seawall-'))
  try {
    const kernel = join(folder, 'Image.gz')
    writeFileSync(kernel, gzipSync(readFileSync(KERNEL), { level: 1 }))
    const boot = { type: 'linux', kernel, initrd: INITRD, cmdline: COMMAND_LINE } as const
    await using guest = await LinuxGuest.boot({ boot })
    t.like(await guest.ask('ping it', 'pong'), { fields: { token: 'it' } })
    await powerOff(t, guest)
    t.deepEqual(guest.failures, [])
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test.serial('a Linux guest with four vCPUs uses them all', async (t) => {
  t.timeout(LIMIT_MS)
  await using guest = await LinuxGuest.create({ vcpus: 4 })
  await guest.vm.start()
  t.is((await guest.report('ready')).fields['cpus'], '4')
  await powerOff(t, guest)
})

test.serial('a Linux guest echoes what it is sent, and is paused and resumed meanwhile', async (t) => {
  t.timeout(LIMIT_MS)
  await using guest = await LinuxGuest.boot({ vcpus: 2 })
  const { vm } = guest
  const sent = randomBytes(ECHO_BYTES).toString('latin1')
  guest.send(`echo ${ECHO_BYTES}`)
  await guest.report('echo', { state: 'ready' })
  const from = guest.console.length
  const began = performance.now()
  vm.console.write(Buffer.from(sent, 'latin1'))
  let pauses = 0
  const done = guest.until(
    'the end of the echo',
    () => guest.console.length >= from + ECHO_BYTES || undefined,
    LIMIT_MS,
  )
  while (!(await Promise.race([done, new Promise((resolve) => setTimeout(resolve, 500, false))]))) {
    // A vCPU that does not leave the guest within 10 seconds makes the VM fail, so that each step has its bound.
    await vm.pause()
    for (const vcpu of vm.vcpus) {
      const mode = (await vcpu.getRegister('pstate')) & 0xfn
      t.true([0n, 4n, 5n].includes(mode), `mode ${mode}`)
      t.not(await vcpu.getRegister('pc'), 0n)
    }
    t.is(vm.memory.read(RAM + 56n, 4).toString('latin1'), 'ARM\x64')
    await vm.resume()
    pauses += 1
  }
  t.log(`${ECHO_BYTES} bytes in ${Math.round((performance.now() - began) / 1000)} s, ${pauses} pauses`)
  await guest.report('echo', { state: 'done' })
  t.true(pauses > 0)
  const echoed = guest.console.slice(from, from + ECHO_BYTES)
  t.true(echoed === sent, 'what came back is what was sent')
  await powerOff(t, guest)
})

test.serial(
  'a guest that reboots ends, or boots again with fresh memory in the place of a lost page',
  async (t) => {
    t.timeout(LIMIT_MS)
    using injector = new Injector()
    await using guest = await LinuxGuest.boot({ vcpus: 2, onReset: 'restart' })
    const resets: number[] = []
    guest.vm.on('guest-reset', ({ seq }) => resets.push(seq))
    const gpa = await victim(guest, 'load')
    injector.arm('fsc=0x10 count=1', gpa, PAGE)
    await zap(gpa)
    guest.send('go')
    t.like(await guest.report('ended', { program: 'victim' }), { fields: { signal: '7' } })
    t.like(guest.vm.poisonedPages(), [{ gpa, state: 'quarantined' }])
    guest.send('reboot')
    await guest.report('ready')
    t.is(resets.length, 1)
    t.is(guest.vm.state, 'running')
    // On its way to the reset the guest may have met the page once more.
    const failures = guest.failures.length
    t.like(guest.vm.poisonedPages(), [{ gpa, state: 'replaced' }])
    // Nearly all memory is used, and none of it is bad.
    guest.send('stress 4 2')
    t.like(await guest.report('stress', { state: 'done' }), { fields: { badly: '0', never: '0' } })
    t.is(guest.failures.length, failures)
    await powerOff(t, guest)
  },
)

test.serial('reboot and panic of a Linux guest end it as a reset', async (t) => {
  t.timeout(LIMIT_MS)
  await using guest = await LinuxGuest.boot()
  guest.send('reboot')
  t.like(await guest.finish(), { reason: 'reset' })
  // Without an initial RAM disk there is nothing to start.
  const boot = { type: 'linux', kernel: KERNEL, cmdline: COMMAND_LINE } as const
  await using rootless = await LinuxGuest.create({ boot })
  await rootless.vm.start()
  t.like(await rootless.finish(), { reason: 'reset' })
  t.regex(rootless.console, /Kernel panic - not syncing: VFS: Unable to mount root fs/)
})

test.serial('a busy Linux guest can be stopped at any time, and looked at afterwards', async (t) => {
  t.timeout(LIMIT_MS)
  await using guest = await LinuxGuest.boot({ vcpus: 2 })
  guest.send('stress 1000 1000')
  t.like(await guest.vm.stop(), { reason: 'requested' })
  t.is(typeof (await guest.vm.vcpus[1]?.getRegister('pc')), 'bigint')
  t.is(guest.vm.memory.read(RAM, 4096).length, 4096)
})

test.serial('memory errors while the kernel boots end the guest, and nothing else', async (t) => {
  t.timeout(LIMIT_MS)
  const seen: string[] = []
  // The kernel's text and data, from its first pages to its last.
  for (const offset of [0x1_0000n, 0x100_0000n, 0x200_0000n]) {
    using injector = new Injector()
    await using guest = await LinuxGuest.create({ vcpus: 2 })
    injector.arm('fsc=0x10 ea=1', RAM + offset, 0x10_0000n)
    await guest.vm.start()
    const isReady = () => /seawall: ready/.test(guest.console)
    await guest.until(
      'a memory error, or a guest that is ready',
      () => guest.failures.length > 0 || isReady() || undefined,
    )
    if (guest.failures.length === 0) {
      seen.push(`0x${offset.toString(16)}: not touched`)
      continue
    }
    // The guest may die of it by itself, hang, or oops for ever.
    await guest.hear(() => false, 40_000)
    if (!guest.hasEnded) await guest.vm.stop()
    const { reason } = await guest.finish()
    seen.push(`0x${offset.toString(16)}: ${reason}, ${guest.failures.length} failures`)
    t.true(['reset', 'policy', 'requested'].includes(reason), reason)
    t.true(guest.failures.length > 0)
  }
  t.log(seen.join('; '))
})
