import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'

/** Runs a guest that reads a lost page, with a handler of SIGBUS that is installed before or after Seawall's. */
async function run(when: 'before' | 'after'): Promise<unknown> {
  const source = `
    import { Vm } from 'seawall'
    const boot = { type: 'flat', image: 'build/guests/read-el0.bin' }
    const install = () => process.on('SIGBUS', () => {})
    if ('${when}' === 'before') install()
    const vm = await Vm.create({ memory: 4 * 2 ** 20, boot })
    await vm.reportPoison(0x80100000n, 1)
    if ('${when}' === 'after') install()
    const failed = []
    vm.on('vcpu-failed', ({ error }) => failed.push(error.code))
    await vm.start()
    const { reason, error } = await vm.wait()
    await vm.close()
    console.log(JSON.stringify({ reason, code: error?.code, failed }))
  `
  const args = ['--input-type=module', '--eval', source]
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 60_000 })
  return JSON.parse(stdout)
}

test.serial(
  'a handler of SIGBUS that took the place of ours ends the VM instead of hanging it',
  async (t) => {
    const code = 'ERR_SIGNAL_HANDLER'
    t.deepEqual(await run('after'), { reason: 'failed', code, failed: [code] })
  },
)

test.serial('a handler of SIGBUS that was there before ours changes nothing', async (t) => {
  t.deepEqual(await run('before'), { reason: 'shutdown', failed: [] })
})

test.serial('a process without privileges says how many lost pages it gives back', async (t) => {
  const source = `
    import { Vm } from 'seawall'
    const boot = { type: 'flat', image: 'build/guests/idle.bin' }
    const vm = await Vm.create({ memory: 4 * 2 ** 20, boot })
    process.setgid(65534)
    process.setuid(65534)
    const changed = []
    vm.on('page-state-changed', ({ page }) => changed.push(page.state))
    await vm.reportPoison(0x80100000n, 8192)
    console.log(JSON.stringify({ ...(await vm.close()), changed }))
  `
  const args = ['--input-type=module', '--eval', source]
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 60_000 })
  t.deepEqual(JSON.parse(stdout), { unretiredHostPages: 2, changed: [] })
})
