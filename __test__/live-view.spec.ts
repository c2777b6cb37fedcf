import { EventEmitter, once } from 'node:events'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import {
  type Decide,
  decodeEsr,
  jsonReplacer,
  type MemoryFailurePolicy,
  type SimulatedStep,
  simulated,
  Vm,
  type VmEvent,
} from 'seawall'
import { Backlog } from '#cli/live-view/backlog'
import { LiveView } from '#cli/live-view/live-view'
import { type Frame, Subscriber } from '#cli/live-view/subscriber'
import { PageConnection } from './live-view/page-connection.ts'

const MEMORY = 64 * 2 ** 20
/** An application loads from a lost page. */
const lost: SimulatedStep = { step: 'sea', esr: 0x9200_0610n, gpa: 0x8001_0000n, far: 0x4000_0010n }
const SPIN: SimulatedStep = { step: 'spin' }

/** A view of a guest that plays a script, before it runs. */
async function viewOf(t: ExecutionContext, ...steps: SimulatedStep[]): Promise<{ vm: Vm; view: LiveView }> {
  return await viewWith(t, {}, ...steps)
}

async function viewWith(
  t: ExecutionContext,
  memoryFailure: MemoryFailurePolicy,
  ...steps: SimulatedStep[]
): Promise<{ vm: Vm; view: LiveView }> {
  const boot = { type: 'flat', image: new Uint8Array(4) } as const
  const backend = simulated({ script: [steps] })
  const vm = await Vm.create({ name: 'seen', memory: MEMORY, boot, backend, memoryFailure })
  t.teardown(() => vm.close())
  return { vm, view: await LiveView.open(vm, { memory: MEMORY }) }
}

async function collect(vm: Vm): Promise<VmEvent[]> {
  const events: VmEvent[] = []
  for await (const event of vm.events()) events.push(event)
  return events
}

/** What comes of a connection: the error's code, or that there is one. */
async function connecting(port: string, host: string): Promise<string> {
  const socket = connect(Number(port), host)
  const result = await once(socket, 'connect').then(
    () => 'connected',
    ({ code }: NodeJS.ErrnoException) => String(code),
  )
  socket.destroy()
  return result
}

/** How much was lost to a page. */
function lostTo(page: PageConnection): { events: number; characters: number } {
  const sum = { events: 0, characters: 0 }
  for (const { events, characters } of page.of('lost')) {
    sum.events += events
    sum.characters += characters
  }
  return sum
}

/** Asks the server for something, and reads the answer. */
async function ask(
  url: string | URL,
  options: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<{ status: number; headers: IncomingMessage['headers']; body: string }> {
  const { body: sentBody, ...rest } = options
  const sent = request(url, { agent: false, ...rest })
  sent.end(sentBody)
  const [response] = (await once(sent, 'response')) as [IncomingMessage]
  let body = ''
  for await (const chunk of response.setEncoding('utf8')) body += chunk
  return { status: response.statusCode ?? 0, headers: response.headers, body }
}

test('a page is told every event in order, from the first to the last, and then that there are no more', async (t) => {
  const { vm, view } = await viewOf(
    t,
    lost,
    { step: 'mmio-read', gpa: 0x1000n, size: 4 },
    { step: 'shutdown' },
  )
  const events = collect(vm)
  const page = (await PageConnection.open(view.url)).read()
  await vm.start()
  await vm.wait()
  await vm.close()
  await view.ended
  await page.ended
  const expected = JSON.parse(JSON.stringify(await events, jsonReplacer))
  t.true(expected.length >= 6)
  t.deepEqual(
    page.of('event').map(({ event }) => event),
    expected,
  )
  t.is(page.told.at(0)?.name, 'hello')
  t.is(page.told.at(-1)?.name, 'bye')
  t.like(page.of('hello')[0], {
    vm: { id: vm.id, name: 'seen' },
    vcpus: 1,
    ram: { gpa: '0x80000000', size: MEMORY },
    resumed: false,
  })
})

test('a memory failure comes with every field of its syndrome, and of what the guest reads', async (t) => {
  const { vm, view } = await viewOf(t, { ...lost, pstate: 0x3c5n }, SPIN)
  const page = (await PageConnection.open(view.url)).read()
  await vm.start()
  await page.until(() => page.of('event').some(({ event }) => event.type === 'memory-failure'))
  const told = page.of('event').find(({ event }) => event.type === 'memory-failure')
  const plain = (esr: bigint) => JSON.parse(JSON.stringify(decodeEsr(esr).fields, jsonReplacer))
  t.deepEqual(told?.syndrome?.fields, plain(0x9200_0610n))
  t.regex(told?.syndrome?.sentence ?? '', /^Data Abort from a lower Exception level: .*FAR not valid$/)
  t.deepEqual(told?.injected?.fields, plain(0x9600_0610n))
  t.regex(told?.words ?? '', /^memory error in page 0x80010000, met in kernel mode by vCPU 0: inject/)
})

test('what the guest prints is told as text, whatever it is, also where a character comes in pieces', async (t) => {
  const text = '<script>alert(1)</script>\n\nevent: bye\ndata: 1\n\n\u001b[31mred \u00e9\u6d77\u0000 end\n'
  const { vm, view } = await viewOf(t, { step: 'print', text }, SPIN)
  await vm.start()
  const page = (await PageConnection.open(view.url)).read()
  await page.until(() => page.printed.length >= text.length)
  t.is(page.printed, text)
  t.deepEqual(page.of('bye'), [])
})

test('the counters follow, with all their 64 bits', async (t) => {
  const { vm, view } = await viewOf(t, lost, SPIN)
  const page = (await PageConnection.open(view.url)).read()
  await vm.start()
  await page.until(() => page.of('now').some(({ stats }) => stats.failures === '0x1'))
  const now = page.of('now').at(-1)
  t.is(now?.state, 'running')
  t.is(now?.stats.exits['arm-sea'], '0x1')
})

test('a page that comes back with Last-Event-ID goes on where it was, and is told nothing twice', async (t) => {
  const { vm, view } = await viewOf(t, { step: 'print', text: 'one\n' }, lost, SPIN)
  await vm.start()
  const page = (await PageConnection.open(view.url)).read()
  const failed = () => page.of('event').some(({ event }) => event.type === 'memory-failure')
  await page.until(() => failed() && page.printed === 'one\n')
  const last = page.told.filter(({ id }) => id !== null).at(-1)?.id ?? ''
  page.close()
  await vm.reportPoison(0x8002_0000n, 4096)
  await vm.reportPoison(0x8003_0000n, 4096)
  const again = (await PageConnection.open(view.url, last)).read()
  await again.until(() => again.of('event').length >= 2)
  t.true(again.of('hello')[0]?.resumed)
  t.deepEqual(
    again.of('event').map(({ event }) => (event.type === 'memory-failure' ? event.gpa : event.type)),
    ['0x80020000', '0x80030000'],
  )
  t.is(again.printed, '')
  // What was on its way when the connection broke may have told of a page.
  await again.until(() => again.of('pages').length > 0)
  t.deepEqual(
    again.of('pages')[0]?.pages.map(({ gpa }) => gpa),
    ['0x80010000', '0x80020000', '0x80030000'],
  )
  t.deepEqual(again.of('lost'), [])
})

for (const [what, id] of [
  ['of another view', '00000000-1-1'],
  ['that never was', 'VIEW-999-0'],
  ['that is none', 'x'.repeat(1000)],
] as const) {
  test(`a page that comes with an id ${what} begins anew`, async (t) => {
    const { vm, view } = await viewOf(t, lost, SPIN)
    await vm.start()
    const first = (await PageConnection.open(view.url)).read()
    await first.until(() => first.of('event').length >= 2)
    const [own = ''] = first.told.find((told) => told.id !== null)?.id?.split('-') ?? []
    const page = (await PageConnection.open(view.url, id.replace('VIEW', own))).read()
    await page.until(() => page.of('event').length >= 2)
    t.false(page.of('hello')[0]?.resumed)
  })
}

test('a page that comes too late is told how much is lost to it, and which pages the guest has lost', async (t) => {
  const steps = Array.from(
    { length: 1200 },
    (_, index): SimulatedStep => ({
      ...lost,
      gpa: 0x8010_0000n + BigInt(index) * 4096n,
      far: 0x4000_0000n + BigInt(index) * 4096n,
    }),
  )
  const { vm, view } = await viewOf(t, ...steps, { step: 'print', text: 'done' }, SPIN)
  // In a storm also whoever listens from the beginning may lose events, and then knows how many.
  const early = (await PageConnection.open(view.url)).read()
  await vm.start()
  await early.until(() => early.printed === 'done' && early.of('event').length + lostTo(early).events >= 1201)
  const page = (await PageConnection.open(view.url)).read()
  await page.until(() => page.of('pages').length > 0)
  t.deepEqual(page.of('lost'), [{ events: 201, characters: 0 }])
  t.is(page.of('event').length, 1000)
  t.is(page.of('event').at(0)?.event.seq, 202)
  t.is(page.of('pages')[0]?.pages.length, 1200)
})

test('a page that does not read holds up nobody, and costs no more than what is kept once for all', async (t) => {
  // Much more than the buffers of a connection on loopback. After each piece the guest waits until it is told: one that only
  // prints is not heard where this process is slow.
  const piece = 2 ** 20
  const pieces = Array.from({ length: 24 }, (): SimulatedStep[] => [
    { step: 'print', text: 'x'.repeat(piece) },
    { step: 'sea', esr: 0x92000410n },
  ])
  const heard = (page: PageConnection) => page.printed.length + lostTo(page).characters
  let printed = 0
  const decide: Decide = async ({ gpa }) => {
    if (gpa === null) {
      printed += piece
      await quick.until(() => heard(quick) >= printed)
    }
    return { action: 'inject' }
  }
  const policy = { decide, decisionTimeoutMs: 60_000 }
  const { vm, view } = await viewWith(t, policy, ...pieces.flat(), lost, SPIN)
  const slow = await PageConnection.open(view.url)
  const quick = (await PageConnection.open(view.url)).read()
  const over = new Promise<void>((resolve) => {
    vm.on('memory-failure', ({ gpa }) => {
      if (gpa !== null) resolve()
    })
  })
  await vm.start()
  await over
  const positionOfFailure = async (page: PageConnection) => {
    const failure = () =>
      page.told.find(
        ({ name, data }) =>
          name === 'event' && data.event.type === 'memory-failure' && data.event.gpa !== null,
      )
    await page.until(() => failure() !== undefined)
    return Number(failure()?.id?.split('-').at(-1))
  }
  const position = await positionOfFailure(quick)
  slow.read()
  t.is(await positionOfFailure(slow), position)
  t.is(position, pieces.length * piece)
  t.true(lostTo(slow).characters > piece)
  for (const page of [slow, quick]) t.is(heard(page), position)
})

test('only so many pages may listen at a time; when one goes, there is room', async (t) => {
  const { view } = await viewOf(t, SPIN)
  const pages = await Promise.all(Array.from({ length: 16 }, () => PageConnection.open(view.url)))
  const refused = await ask(new URL('stream', view.url))
  t.like(refused, { status: 503, body: 'too many pages listen\n' })
  t.is(refused.headers['retry-after'], '5')
  pages[0]?.close()
  for (;;) {
    const page = await PageConnection.open(view.url).catch(() => null)
    if (page !== null) break
  }
  t.pass()
})

/** A response whose socket takes what the test says. */
class FakeResponse extends EventEmitter {
  readonly written: string[] = []
  takes = true
  destroyed = false
  writableEnded = false

  write(frame: string): boolean {
    this.written.push(frame)
    return this.takes
  }

  destroy(): void {
    this.destroyed = true
  }
}

test('a connection that takes nothing from one beat to the next is given up, and one that is slow is not', (t) => {
  const response = new FakeResponse()
  const backlog = new Backlog<Frame>()
  const present = { now: () => 'now', pages: () => null, finished: () => false }
  const subscriber = new Subscriber(response as unknown as ServerResponse, backlog, present, '00000000', null)
  subscriber.tell()
  subscriber.beat()
  t.deepEqual(response.written, ['now', ':\n\n'])
  response.takes = false
  for (const event of ['one', 'two', 'three']) backlog.addEvent(() => event)
  subscriber.tell()
  subscriber.tell()
  // No more than what the socket did not refuse.
  t.is(response.written.length, 3)
  subscriber.beat()
  response.emit('drain')
  t.is(response.written.length, 4)
  subscriber.beat()
  t.false(response.destroyed)
  subscriber.beat()
  t.true(response.destroyed)
  response.emit('drain')
  t.is(response.written.length, 4)
})

test('the page, its style, its icon and its scripts are served, and nothing that is not of it', async (t) => {
  const { view } = await viewOf(t, SPIN)
  const page = await ask(view.url)
  t.is(page.status, 200)
  t.is(page.headers['content-type'], 'text/html; charset=utf-8')
  const links = [...page.body.matchAll(/(?:href|src)="([^"#][^"]*)"/g)].map(([, link = '']) => link)
  t.deepEqual([...new Set(links)].sort(), ['icon.svg', 'page/main.js', 'style.css'])
  for (const link of links) t.is((await ask(new URL(link, view.url))).status, 200, link)
  const main = await ask(new URL('page/main.js', view.url))
  const imports = [...main.body.matchAll(/from '(\.[^']+)'/g)].map(([, path = '']) => path)
  t.true(imports.length >= 5)
  for (const path of imports) t.is((await ask(new URL(path, new URL('page/', view.url)))).status, 200, path)
  for (const path of [
    'page/../live-view.js',
    'page/',
    'live-view.js',
    '..%2fpackage.json',
    'page/%2e%2e/wire.js',
  ]) {
    const { port, pathname } = new URL(view.url)
    const { status } = await ask('http://127.0.0.1', { ...{ port, path: pathname + path } } as object)
    t.is(status, 404, path)
  }
})

test('every answer tells the browser to trust nothing else, and to keep nothing', async (t) => {
  const { view } = await viewOf(t, SPIN)
  for (const path of ['', 'style.css', 'page/main.js', 'nowhere']) {
    const { headers } = await ask(new URL(path, view.url))
    t.regex(
      String(headers['content-security-policy']),
      /^default-src 'self'; .*require-trusted-types-for 'script'/,
    )
    t.is(headers['x-content-type-options'], 'nosniff')
    t.is(headers['cache-control'], 'no-store')
    t.is(headers['cross-origin-resource-policy'], 'same-origin')
    t.is(headers['access-control-allow-origin'], undefined)
  }
})

test('who names another host is refused, whatever he asks for', async (t) => {
  const { view } = await viewOf(t, SPIN)
  const { port } = new URL(view.url)
  for (const host of [
    'evil.example',
    `evil.example:${port}`,
    '127.0.0.1',
    '127.0.0.1:1',
    `127.0.0.1.nip.io:${port}`,
  ]) {
    for (const path of ['', 'stream', 'input', 'style.css']) {
      t.is((await ask(new URL(path, view.url), { headers: { host } })).status, 421, `${host} ${path}`)
    }
  }
  t.is((await ask(view.url, { headers: { host: `localhost:${port}` } })).status, 200)
})

test('who does not know the address is not let in', async (t) => {
  const { view } = await viewOf(t, SPIN)
  const { pathname } = new URL(view.url)
  t.regex(pathname, /^\/[0-9a-f]{32}\/$/)
  const other = await viewOf(t, SPIN)
  t.not(new URL(other.view.url).pathname, pathname)
  for (const path of [
    '/',
    '/stream',
    '/input',
    '/favicon.ico',
    `${pathname.slice(0, -2)}x/`,
    pathname.slice(0, -1),
  ]) {
    t.is((await ask(new URL(path, view.url))).status, 404, path)
  }
})

test('it listens on 127.0.0.1 and at no other address', async (t) => {
  const { view } = await viewOf(t, SPIN)
  const url = new URL(view.url)
  t.is(url.hostname, '127.0.0.1')
  t.is(await connecting(url.port, '127.0.0.1'), 'connected')
  // Elsewhere than on Linux it is no address of the machine.
  if (process.platform === 'linux') t.is(await connecting(url.port, '127.0.0.2'), 'ECONNREFUSED')
  t.regex(await connecting(url.port, '::1'), /^(ECONNREFUSED|EADDRNOTAVAIL|EAFNOSUPPORT)$/)
})

test('a method that means nothing is refused, and so is input of any size or after the end', async (t) => {
  const { vm, view } = await viewOf(t, SPIN)
  t.like(await ask(view.url, { method: 'POST' }), { status: 405, headers: { allow: 'GET, HEAD' } })
  t.like(await ask(new URL('input', view.url)), { status: 405, headers: { allow: 'POST' } })
  t.like(await ask(new URL('stream', view.url), { method: 'HEAD' }), { status: 200, body: '' })
  const input = new URL('input', view.url)
  t.is((await ask(input, { method: 'POST', body: 'x'.repeat(4097) })).status, 413)
  t.is((await ask(input, { method: 'POST', body: 'hello\n' })).status, 204)
  await vm.start()
  await vm.stop()
  t.like(await ask(input, { method: 'POST', body: 'x' }), { status: 409, body: 'the guest takes no input\n' })
})

test('closing the VM ends the server, also where a page does not read', async (t) => {
  const { vm, view } = await viewOf(t, { step: 'print', text: 'x'.repeat(2 ** 20) }, { step: 'shutdown' })
  const slow = await PageConnection.open(view.url)
  await vm.start()
  await vm.wait()
  await vm.close()
  await view.ended
  slow.close()
  t.is(await connecting(new URL(view.url).port, '127.0.0.1'), 'ECONNREFUSED')
})

test('a VM that is closed before it ran ends its view', async (t) => {
  const { vm, view } = await viewOf(t, SPIN)
  const page = (await PageConnection.open(view.url)).read()
  await vm.close()
  await view.ended
  await page.ended
  t.is(page.told.at(-1)?.name, 'bye')
})

test('a port that is taken is an error', async (t) => {
  const { vm } = await viewOf(t, SPIN)
  const taken = createServer().listen(0, '127.0.0.1')
  t.teardown(() => taken.close())
  await once(taken, 'listening')
  const { port } = taken.address() as AddressInfo
  await t.throwsAsync(LiveView.open(vm, { memory: MEMORY, port }), {
    code: 'ERR_INVALID_OPTION',
    message: `Expected a port that is free (EADDRINUSE) for --ui but received "${port}"`,
  })
})
