import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import test from 'ava'
import type { SimulatedStep } from 'seawall'
import { Child, ScriptedGuest, TOOL } from './cli/child.ts'
import { readLog } from './cli/log.ts'
import { PageConnection } from './live-view/page-connection.ts'

const ready: SimulatedStep = { step: 'print', text: 'ready\n' }
const lost: SimulatedStep = { step: 'sea', esr: 0x9200_0010n, gpa: 0x8001_0000n, far: 0x4000_0010n }
const ADDRESS = /^seawall: the live view is at (http:\/\/127\.0\.0\.1:(\d+)\/[0-9a-f]{32}\/)$/m

/** Waits until the tool says where its view is. */
async function viewOf(child: Child): Promise<{ url: string; port: number }> {
  await child.says(ADDRESS)
  const [, url = '', port] = ADDRESS.exec(child.stderr) ?? []
  return { url, port: Number(port) }
}

for (const args of [[], ['--quiet'], ['--no-console']]) {
  test.serial(
    `seawall run ${['--ui', ...args].join(' ')} says where the view is, which shows the guest until it ends`,
    async (t) => {
      const guest = new ScriptedGuest(t, ready, lost, { step: 'spin' })
      const child = guest.start('--ui', ...args, '--events', guest.file('events.ndjson'))
      const ended = child.ends()
      const { url, port } = await viewOf(child)
      const page = (await PageConnection.open(url)).read()
      await page.until(() => page.of('event').length >= 2 && page.printed === 'ready\n')
      child.process.kill('SIGTERM')
      await page.ended
      t.like(await ended, { code: 143, stdout: args.includes('--no-console') ? '' : 'ready\n' })
      t.deepEqual(
        page.of('event').map(({ event }) => event.type),
        readLog(guest.file('events.ndjson')).map(({ type }) => type),
      )
      t.is(page.of('event').at(-1)?.words, 'the VM was stopped and is closed')
      t.is(page.told.at(-1)?.name, 'bye')
      const [error] = await once(connect(port, '127.0.0.1'), 'error')
      t.is(error.code, 'ECONNREFUSED')
    },
  )
}

const STAYS = /^seawall: the live view stays at http:\/\/127\.0\.0\.1:\d+\/[0-9a-f]{32}\/ until Ctrl-c$/m

for (const [how, step, code] of [
  ['shut down', 'shutdown', 0],
  ['crashed', 'crash', 4],
] as const) {
  test.serial(
    `seawall run --ui stays when the guest has ${how}, for a browser that comes later, and its exit code is that of the guest`,
    async (t) => {
      const guest = new ScriptedGuest(t, ready, lost, { step })
      const child = guest.start('--ui', '--quiet', '--json')
      const ended = child.ends()
      const { url, port } = await viewOf(child)
      await child.says(STAYS)
      await child.says(/^\{.*\}$/m)
      const page = (await PageConnection.open(url)).read()
      await page.ended
      t.is(page.printed, 'ready\n')
      t.is(page.of('event').filter(({ event }) => event.type === 'memory-failure').length, 1)
      t.is(page.told.at(-1)?.name, 'bye')
      child.process.kill('SIGINT')
      const { stderr, ...rest } = await ended
      t.deepEqual(rest, { code, signal: null, stdout: 'ready\n' })
      const last = JSON.parse(stderr.trimEnd().split('\n').at(-1) ?? '')
      t.like(last, { exitCode: code, exit: { reason: step }, signal: null, memoryFailures: 1 })
      const [error] = await once(connect(port, '127.0.0.1'), 'error')
      t.is(error.code, 'ECONNREFUSED')
    },
  )
}

test.serial(
  'seawall run --simulated --ui shows a guest that meets errors of several kinds, on any machine',
  async (t) => {
    const child = new Child(process.execPath, [TOOL, 'run', '--simulated', '--ui'])
    const ended = child.ends()
    const { url } = await viewOf(child)
    const page = (await PageConnection.open(url)).read()
    await page.ended
    child.process.kill('SIGINT')
    const { code, stdout, stderr } = await ended
    t.is(code, 0)
    t.is(page.printed, stdout)
    t.true(stdout.endsWith('guest: shuts down\n'))
    t.regex(stderr, /^seawall: a script plays this guest, and nothing of it is real$/m)
    const failures = page.of('event').flatMap(({ event }) => (event.type === 'memory-failure' ? [event] : []))
    t.deepEqual(
      failures.map(({ source, abort, consumer, page, action }) =>
        [source, abort?.kind, abort?.cause, abort?.write, consumer?.mode, page?.hits, action].join(' '),
      ),
      [
        'sea data external false user 1 inject',
        'sea data external true user 1 inject',
        'sea instruction external  user 1 inject',
        'sea data external-table-walk false user  inject',
        'quarantined-page    user 2 inject',
        'sea data external false kernel 1 inject',
      ],
    )
    t.true(failures.every(({ backend }) => backend === 'simulated'))
    t.is(page.of('event').filter(({ event }) => event.type === 'unclaimed-access').length, 1)
  },
)

test.serial(
  'seawall run --ui with a port is there, and a port that is taken is an error before the guest runs',
  async (t) => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const guest = new ScriptedGuest(t, ready, { step: 'spin' })
    const message = `Expected a port that is free (EADDRINUSE) for --ui but received "${port}"`
    const refused = await guest.run('--ui', String(port))
    t.like(refused, { code: 2, stdout: '', stderr: `seawall: ${message}\nTry 'seawall run --help'.\n` })
    server.close()
    await once(server, 'close')
    const child = guest.start(`--ui=${port}`)
    t.is((await viewOf(child)).port, port)
    child.process.kill('SIGTERM')
    t.is((await child.ends()).code, 143)
  },
)
