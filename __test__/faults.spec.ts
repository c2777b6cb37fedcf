import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import declare from 'ava'
import { Child } from './cli/child.ts'

const CHILD = fileURLToPath(new URL('faults/child.js', import.meta.url))

interface Said {
  name: string
  text: string
}

/** Takes resources away from a process, as prlimit(1) names them. */
function limit(pid: number, ...limits: string[]): void {
  const { status, stderr } = spawnSync('prlimit', ['--pid', String(pid), ...limits], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`prlimit: ${stderr}`)
}

/** Runs a part of the child; `take` takes resources away from it when it is ready. What it has said then. */
async function run(part: string, take: (pid: number, threads: number) => void): Promise<Said[]> {
  const child = new Child(process.execPath, [CHILD, part])
  const { pid, stdin, stdout } = child.process
  stdout.once('data', (ready: Buffer) => {
    take(pid ?? 0, Number(/^ready (\d+)/.exec(String(ready))?.[1]))
    stdin.write('go\n')
    stdout.unpipe()
  })
  const ended = child.ends()
  const { code, signal, stdout: text, stderr } = await ended
  if (code !== 0 || !text.endsWith('done\n')) throw new Error(`${code} ${signal}\n${text}${stderr}`)
  return text
    .trim()
    .split('\n')
    .map((line) => ({ name: line.slice(0, line.indexOf(' ')), text: line.slice(line.indexOf(' ') + 1) }))
}

/** What was said under a name. */
function said(all: Said[], name: string): string[] {
  return all.filter((line) => line.name === name).map(({ text }) => text)
}

const takeFiles = (pid: number) => limit(pid, '--nofile=64:64')
const takeMemory = (pid: number) => {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const size = Number(/^VmSize:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024
  limit(pid, `--as=${size + 2 ** 29}`)
}

/** Linux has the limits and what sets them. */
const test = process.platform === 'linux' ? declare : declare.skip
const isRoot = process.getuid?.() === 0

test('a VM that finds no file for itself is refused, and the others are unharmed', async (t) => {
  const all = await run('files', takeFiles)
  const created = said(all, 'create')
  t.true(created.length > 1, 'the first one fails')
  t.is(created.pop(), 'none')
  for (const outcome of created) t.regex(outcome, /^ERR_OUT_OF_RESOURCES \w+ EMFILE$/)
  const images = said(all, 'image')
  t.is(images[0], 'ERR_OUT_OF_RESOURCES EMFILE', 'which says nothing of the image')
  t.is(images.at(-1), 'ERR_INVALID_IMAGE')
  t.deepEqual(said(all, 'leaked'), ['0'])
})

test('a VM that finds no memory is refused, and the others are unharmed', async (t) => {
  const all = await run('memory', takeMemory)
  const [refused, afterwards] = said(all, 'create')
  t.regex(refused ?? '', /^ERR_OUT_OF_RESOURCES( mmap ENOMEM| EAGAIN)$/)
  t.is(afterwards, 'none')
  t.regex(said(all, 'read')[0] ?? '', /^ERR_OUT_OF_RESOURCES/)
})

for (const spare of [0, 1, 2, 3, 4]) {
  test(`a VM that finds only ${spare} threads for itself is refused, and the others are unharmed`, async (t) => {
    const all = await run('threads', (pid, threads) => limit(pid, `--nproc=${isRoot ? threads + spare : 1}`))
    const [refused, afterwards] = said(all, 'create')
    t.is(refused, 'ERR_OUT_OF_RESOURCES EAGAIN')
    // The one that ran before has given its threads back.
    t.is(afterwards, isRoot ? 'none' : 'ERR_OUT_OF_RESOURCES EAGAIN')
  })
}
