import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'

/** Makes copies of the package, each with an addon of its own, and returns the addresses of their modules. */
function makeCopies(folder: string, names: string[]): string[] {
  return names.map((name) => {
    for (const part of ['dist', 'native', 'package.json']) {
      cpSync(part, join(folder, name, part), { recursive: true })
    }
    return pathToFileURL(join(folder, name, 'dist', 'index.js')).href
  })
}

test("two copies of the package in one process keep out of each other's way", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'seawall-copies-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const [first, second] = makeCopies(folder, ['first', 'second'])
  const source = `
    const copies = [await import('${first}'), await import('${second}')]
    const script = [[{ step: 'sea', esr: 0x92000010n, gpa: 0x80001000n }, { step: 'spin' }]]
    const create = ({ simulated, Vm }) => Vm.create({
      memory: 2 ** 20, boot: { type: 'flat', image: new Uint8Array(4) }, backend: simulated({ script }),
    })
    const early = await Promise.all(copies.map(create))
    // The handlers of SIGBUS lie one above the other by now.
    const late = await Promise.all(copies.map(create))
    for (const vm of [...early, ...late]) {
      const failure = new Promise((resolve) => vm.once('memory-failure', resolve))
      await vm.start()
      const { action } = await failure
      vm.memory.write(0x80000000n, Buffer.from('abc'))
      console.log(action, String(vm.memory.read(0x80000000n, 3)))
      await vm.close()
    }
    process.on('SIGBUS', () => {})
    for (const copy of copies) await create(copy).catch(({ code }) => console.log(code))
  `
  const args = ['--input-type=module', '--eval', source]
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 60_000 })
  const refused = Array(2).fill('ERR_SIGNAL_HANDLER')
  t.deepEqual(stdout.trim().split('\n'), [...Array(4).fill('inject abc'), ...refused])
})
