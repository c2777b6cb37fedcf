import test, { type ExecutionContext } from 'ava'
import { decodeEsr, jsonReplacer, type Vm, type VmEvent } from 'seawall'
import type { LiveView } from '#cli/live-view/live-view'
import { connecting } from './live-view/ask.ts'
import { lost, MEMORY, SPIN, viewOf } from './live-view/guest.ts'
import { PageConnection } from './live-view/page-connection.ts'

async function collect(vm: Vm): Promise<VmEvent[]> {
  const events: VmEvent[] = []
  for await (const event of vm.events()) events.push(event)
  return events
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

/** A guest that loses a page, says so and ends, and whose VM is closed by now. */
async function endedView(t: ExecutionContext): Promise<{ view: LiveView }> {
  const { vm, view } = await viewOf(t, { step: 'print', text: 'lost\n' }, lost, { step: 'shutdown' })
  await vm.start()
  await vm.wait()
  await vm.close()
  await view.ended
  return { view }
}

test('a page that comes when the VM is closed is told all that happened, and that there is no more', async (t) => {
  const { view } = await endedView(t)
  const page = (await PageConnection.open(view.url)).read()
  await page.ended
  t.is(page.printed, 'lost\n')
  t.is(page.of('event').at(-1)?.words, 'the VM was stopped and is closed')
  t.like(page.of('now').at(-1), { state: 'closed', stats: { failures: '0x1' } })
  t.is(page.told.at(-1)?.name, 'bye')
})

test('a page that comes back when the VM is closed is told which pages the guest has lost', async (t) => {
  const { view } = await endedView(t)
  const first = (await PageConnection.open(view.url)).read()
  await first.ended
  const id = first.told.find(({ name }) => name === 'console')?.id ?? ''
  const page = (await PageConnection.open(view.url, id)).read()
  await page.ended
  const states = first.of('event').flatMap(({ event }) => {
    if (event.type === 'memory-failure') return [event.page?.state]
    return event.type === 'page-state-changed' ? [event.page.state] : []
  })
  t.like(page.of('pages')[0]?.pages, [{ gpa: '0x80010000', state: states.at(-1) }])
})

test('closing the view ends its server, also where a page does not read', async (t) => {
  const { vm, view } = await viewOf(t, { step: 'print', text: 'x'.repeat(2 ** 20) }, { step: 'shutdown' })
  const slow = await PageConnection.open(view.url)
  await vm.start()
  await vm.wait()
  await vm.close()
  await view.ended
  await view.close()
  slow.close()
  t.is(await connecting(new URL(view.url).port, '127.0.0.1'), 'ECONNREFUSED')
})

test('a page hears that a VM was closed before it ran', async (t) => {
  const { vm, view } = await viewOf(t, SPIN)
  const page = (await PageConnection.open(view.url)).read()
  await vm.close()
  await view.ended
  await page.ended
  t.is(page.told.at(-1)?.name, 'bye')
})
