import { once } from 'node:events'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Vm } from 'seawall'
import { SPIN, settled, TOUCH } from './lifecycle-guest.ts'
import { expect, type Measured, type Scale, type Trial } from './trial.ts'

type Copy = typeof import('seawall')

/** Makes copies of the package, each with an addon of its own, and loads them. */
async function loadCopies(folder: string, count: number): Promise<Copy[]> {
  const copies: Copy[] = []
  for (let index = 0; index < count; index += 1) {
    const root = join(folder, `copy-${index}`)
    for (const part of ['dist', 'native', 'package.json']) cpSync(part, join(root, part), { recursive: true })
    copies.push(await import(pathToFileURL(join(root, 'dist', 'index.js')).href))
  }
  return copies
}

async function createIn({ simulated, Vm }: Copy): Promise<Vm> {
  const backend = simulated({ script: [[TOUCH, SPIN]] })
  return await Vm.create({ memory: 2 ** 20, boot: { type: 'flat', image: new Uint8Array(4) }, backend })
}

async function use(vm: Vm): Promise<void> {
  const failure = once(vm, 'memory-failure')
  await vm.start()
  const [{ action }] = await settled('a failure', failure)
  expect('action', action, 'inject')
  vm.memory.write(0x8000_0000n, Buffer.from('abc'))
  expect('what was written', String(vm.memory.read(0x8000_0000n, 3)), 'abc')
  await settled('close()', vm.close())
}

async function together({ size }: Scale): Promise<Measured> {
  const folder = mkdtempSync(join(tmpdir(), 'seawall-copies-'))
  try {
    const copies = await loadCopies(folder, 3)
    for (let round = 0; round < size; round += 1) {
      // Their handlers of SIGBUS lie one above the other, from the first of these on.
      for (const vm of await Promise.all(copies.map(createIn))) await use(vm)
    }
    process.on('SIGBUS', () => {})
    for (const copy of copies) {
      const code = await createIn(copy).then(
        () => 'created',
        (error) => error.code,
      )
      expect('what comes of a handler of somebody else', code, 'ERR_SIGNAL_HANDLER')
    }
    return { copies: copies.length, rounds: size }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Copies of the package in one process. */
export const COPIES: Readonly<Record<string, Trial>> = { 'copies of the package in one process': together }
