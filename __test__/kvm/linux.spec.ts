// A Linux guest of the lab: boots, console, resets, pauses.
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import test, { type ExecutionContext } from 'ava'
import { COMMAND_LINE, INITRD, KERNEL, LinuxGuest } from '../../scripts/linux-guest.ts'

const RAM = 0x8000_0000n
/** Each byte costs the guest several exits, of which an emulated host has some thousand a second: a MiB takes many minutes. */
const ECHO_BYTES = Number(process.env['SEAWALL_ECHO_BYTES'] ?? 8 * 1024)
/** AVA's own limit is for all tests alike. */
const LIMIT_MS = 600_000 + ECHO_BYTES * 4

async function powerOff(t: ExecutionContext, guest: LinuxGuest): Promise<void> {
  guest.send('poweroff')
  t.like(await guest.finish(), { reason: 'shutdown' })
}

/** Creates a guest that boots from the Image, or from a gzip file of it. */
async function create(vcpus: number, isCompressed: boolean): Promise<LinuxGuest> {
  if (!isCompressed) return await LinuxGuest.create({ vcpus, onReset: 'restart' })
  const folder = mkdtempSync(join(tmpdir(), 'seawall-'))
  try {
    const kernel = join(folder, 'Image.gz')
    writeFileSync(kernel, gzipSync(readFileSync(KERNEL), { level: 1 }))
    const boot = { type: 'linux', kernel, initrd: INITRD, cmdline: COMMAND_LINE } as const
    return await LinuxGuest.create({ vcpus, onReset: 'restart', boot })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Sends random bytes, and pauses the guest again and again until they are back. */
async function echo(t: ExecutionContext, guest: LinuxGuest): Promise<void> {
  const { vm } = guest
  const sent = randomBytes(ECHO_BYTES).toString('latin1')
  guest.send(`echo ${ECHO_BYTES}`)
  await guest.report('echo', { state: 'ready' })
  const from = guest.console.length
  const began = performance.now()
  vm.console.write(Buffer.from(sent, 'latin1'))
  let pauses = 0
  const isBack = () => guest.console.length >= from + ECHO_BYTES || undefined
  const done = guest.until('the end of the echo', isBack, LIMIT_MS)
  do {
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
  } while (!(await Promise.race([done, new Promise((resolve) => setTimeout(resolve, 500, false))])))
  t.log(`${ECHO_BYTES} bytes in ${Math.round((performance.now() - began) / 1000)} s, ${pauses} pauses`)
  await guest.report('echo', { state: 'done' })
  const echoed = guest.console.slice(from, from + ECHO_BYTES)
  t.true(echoed === sent, 'what came back is what was sent')
}

for (const vcpus of [1, 2, 4]) {
  test.serial(`a Linux guest with ${vcpus} vCPUs boots, echoes, boots again, and powers off`, async (t) => {
    t.timeout(LIMIT_MS)
    await using guest = await create(vcpus, vcpus === 1)
    let resets = 0
    guest.vm.on('guest-reset', () => {
      resets += 1
    })
    await guest.vm.start()
    t.is((await guest.report('ready')).fields['cpus'], String(vcpus))
    await echo(t, guest)
    guest.send('reboot')
    t.is((await guest.report('ready')).fields['cpus'], String(vcpus))
    t.is(resets, 1)
    t.is(guest.vm.state, 'running')
    t.like(await guest.ask('ping it', 'pong'), { fields: { token: 'it' } })
    await powerOff(t, guest)
    t.deepEqual(guest.failures, [])
  })
}

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
  await guest.report('stress', { state: 'started' })
  const began = performance.now()
  t.like(await guest.vm.stop(), { reason: 'requested' })
  // A vCPU that does not leave the guest within 10 seconds makes the VM fail instead.
  t.log(`stopped in ${Math.round(performance.now() - began)} ms`)
  t.is(typeof (await guest.vm.vcpus[1]?.getRegister('pc')), 'bigint')
  t.is(guest.vm.memory.read(RAM, 4096).length, 4096)
})
