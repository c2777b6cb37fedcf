import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import { mock } from 'node:test'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import type { Decide, SimulatedStep } from 'seawall'
import { Backlog } from '#cli/live-view/backlog'
import type { Frame } from '#cli/live-view/frames'
import { Pace } from '#cli/live-view/pace'
import { Subscriber } from '#cli/live-view/subscriber'
import { Syndromes } from '#cli/live-view/syndromes'
import { Child } from './cli/child.ts'
import { lost, SPIN, viewOf, viewWith } from './live-view/guest.ts'
import { PageConnection } from './live-view/page-connection.ts'

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
  await early.until(() => early.printed === 'done' && early.of('event').length + early.lost.events >= 1201)
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
  const heard = (page: PageConnection) => page.printed.length + page.lost.characters
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
  t.true(slow.lost.characters > piece)
  for (const page of [slow, quick]) t.is(heard(page), position)
})

/** A program that reads the page's stream to its end. */
const READER = fileURLToPath(new URL('live-view/reader.js', import.meta.url))

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

  end(): void {
    this.writableEnded = true
  }

  destroy(): void {
    this.destroyed = true
  }
}

/** A subscriber of a backlog, which counts how often it asks to be told more. */
function subscribe(response: FakeResponse, backlog: Backlog<Frame>) {
  const asked = { more: 0 }
  const present = {
    now: () => 'now',
    pages: () => null,
    finished: () => false,
    more: () => {
      asked.more += 1
    },
  }
  const subscriber = new Subscriber(response as unknown as ServerResponse, backlog, present, '00000000', null)
  return { subscriber, asked }
}

test('a connection that takes nothing from one beat to the next is given up, and one that is slow is not', (t) => {
  const response = new FakeResponse()
  const backlog = new Backlog<Frame>()
  const { subscriber, asked } = subscribe(response, backlog)
  subscriber.tell()
  subscriber.beat()
  t.deepEqual(response.written, ['now', ':\n\n'])
  response.takes = false
  backlog.addEvent(() => 'one')
  subscriber.tell()
  backlog.addEvent(() => 'two')
  subscriber.tell()
  // No more than what the socket did not refuse.
  t.is(response.written.length, 3)
  t.is(asked.more, 0)
  subscriber.beat()
  response.emit('drain')
  t.is(asked.more, 1)
  subscriber.tell()
  t.is(response.written.length, 4)
  subscriber.beat()
  t.false(response.destroyed)
  subscriber.beat()
  t.true(response.destroyed)
  response.emit('drain')
  subscriber.tell()
  t.is(response.written.length, 4)
})

test('a page is told so many events at a time, in one piece and with the counters, and asks for the rest', (t) => {
  const response = new FakeResponse()
  const backlog = new Backlog<Frame>()
  const { subscriber, asked } = subscribe(response, backlog)
  for (let event = 0; event < 100; event += 1) backlog.addEvent(() => `event ${event}\n`)
  subscriber.tell()
  t.is(response.written.length, 1)
  t.regex(response.written[0] ?? '', /event 63\nnow$/)
  t.is(asked.more, 1)
  subscriber.tell()
  t.regex(response.written[1] ?? '', /^id: 00000000-65-0\nevent 64\n.*event 99\n$/s)
  t.is(asked.more, 1)
})

test('a syndrome is decoded once, and only so many are kept', (t) => {
  const decoded: bigint[] = []
  const syndromes = new Syndromes((esr) => {
    decoded.push(esr)
    return { sentence: `the ${decoded.length}th`, fields: [] }
  })
  t.is(syndromes.json(null), 'null')
  for (let time = 0; time < 3; time += 1)
    t.deepEqual(JSON.parse(syndromes.json(1n)), { sentence: 'the 1th', fields: [] })
  for (let esr = 2n; esr <= 256n; esr += 1n) syndromes.json(esr)
  syndromes.json(1n)
  t.is(decoded.length, 256)
  syndromes.json(257n)
  syndromes.json(2n)
  t.is(decoded.length, 257, 'the oldest went')
  syndromes.json(1n)
  t.is(decoded.length, 258)
})

test.serial('what is asked for often is done soon, and then once after each while', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  let done = 0
  const pace = new Pace(50, () => {
    done += 1
  })
  for (let turn = 0; turn < 10; turn += 1) {
    pace.ask()
    pace.ask()
    await new Promise(setImmediate)
  }
  t.is(done, 1)
  mock.timers.tick(49)
  t.is(done, 1)
  mock.timers.tick(1)
  t.is(done, 2)
  mock.timers.tick(1000)
  t.is(done, 2, 'nobody has asked again')
  pace.ask()
  await new Promise(setImmediate)
  t.is(done, 3)
})

/** How many memory errors a storm has. */
const STORM = 20_000

/** What a storm cost whoever listens to the VM, and what the page was told of it. */
async function storm(t: ExecutionContext, isSeen: boolean) {
  const steps = Array.from({ length: STORM }, (_, index): SimulatedStep[] => [
    { ...lost, gpa: 0x8000_0000n + BigInt(index % 10_000) * 4096n },
    // Without it the guest alone is faster than anybody who listens.
    { step: 'run', us: 1 },
  ])
  const { vm, view } = await viewOf(t, ...steps.flat(), { step: 'shutdown' })
  // In a process of its own, as a browser is.
  const reader = isSeen ? new Child(process.execPath, [READER, view.url]) : null
  const read = reader?.ends()
  await reader?.says(/reads/)
  let events = 0
  const counted = (async () => {
    for await (const _ of vm.events()) events += 1
  })()
  await vm.start()
  await vm.wait()
  await vm.close()
  await counted
  return { lost: Number(vm.stats().lost), events, page: JSON.parse((await read)?.stdout ?? 'null') }
}

test.serial(
  'in a storm with a page open whoever else listens loses no more than without, and the page knows what it lost',
  async (t) => {
    const without = await storm(t, false)
    const seen = await storm(t, true)
    t.log(
      `lost of ${STORM}: ${without.lost} without a page, ${seen.lost} with one, which saw ${seen.page.events}`,
    )
    t.true(seen.lost <= without.lost + STORM / 20)
    t.is(seen.page.events + seen.page.lost.events, seen.events)
  },
)
