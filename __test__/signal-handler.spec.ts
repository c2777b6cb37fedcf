import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'

/** Runs a program in a process of its own, and returns what it printed. */
async function run(source: string): Promise<string> {
  const args = ['--input-type=module', '--eval', source]
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 60_000 })
  return stdout.trim()
}

const create = `
  import { simulated, Vm } from 'seawall'
  const backend = simulated({ script: [[{ step: 'shutdown' }]] })
  const options = { memory: 2 ** 20, boot: { type: 'flat', image: new Uint8Array(4) }, backend }
`

test('a handler of SIGBUS that comes after ours is noticed before memory is touched', async (t) => {
  const printed = await run(`${create}
    const vm = await Vm.create(options)
    vm.memory.read(0x80000000n, 8)
    process.on('SIGBUS', () => {})
    for (const act of [
      () => vm.memory.read(0x80000000n, 8),
      () => vm.memory.write(0x80000000n, new Uint8Array(8)),
      () => Vm.create(options),
    ]) {
      try { await act(); console.log('done') } catch ({ code, message }) { console.log(code, message) }
    }
    await vm.close()
    console.log(vm.state)
  `)
  const refused =
    "ERR_SIGNAL_HANDLER Expected Seawall's own handler of SIGBUS but another one was installed after it: without it a memory error cannot be contained"
  t.deepEqual(printed.split('\n'), [refused, refused, refused, 'closed'])
})

test('a handler of SIGBUS that was there before ours stays', async (t) => {
  const printed = await run(`${create}
    process.on('SIGBUS', () => console.log('theirs'))
    const vm = await Vm.create(options)
    vm.memory.read(0x80000000n, 8)
    process.kill(process.pid, 'SIGBUS')
    await new Promise((resolve) => setTimeout(resolve, 100))
    await vm.close()
  `)
  t.is(printed, 'theirs')
})
