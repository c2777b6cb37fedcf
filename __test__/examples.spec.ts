import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { jsonReviver, type VmEvent } from 'seawall'

const run = promisify(execFile)

/** Runs an example in a process of its own, which must end well and by itself, and returns its lines. */
async function lines(t: ExecutionContext, name: string, args: string[] = []) {
  const example = fileURLToPath(new URL(`../examples/${name}.js`, import.meta.url))
  const { stdout, stderr } = await run(process.execPath, [example, ...args], { timeout: 60_000 })
  t.is(stderr, '')
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line, jsonReviver))
}

function failures(events: VmEvent[]) {
  return events
    .filter((event) => event.type === 'memory-failure')
    .map(({ action, decidedBy }) => [action, decidedBy])
}

test('log-events.ts logs one event a line', async (t) => {
  const events: VmEvent[] = await lines(t, 'log-events')
  t.deepEqual(
    events.map(({ seq, type }) => [seq, type]),
    [
      [1, 'state-changed'],
      [2, 'memory-failure'],
      [3, 'memory-failure'],
      [4, 'state-changed'],
      [5, 'exit'],
      [6, 'state-changed'],
    ],
  )
  t.like(events[1], { backend: 'simulated', gpa: 0x8001_0000n, consumer: { mode: 'user' }, action: 'inject' })
  t.like(events[4], { exit: { reason: 'shutdown', vcpu: 0 } })
})

test('restart-after-pages.ts puts a fresh VM in the place of one that has lost too many pages', async (t) => {
  const said = await lines(t, 'restart-after-pages')
  t.deepEqual(
    said.map(({ line }) => line),
    ['started', 'lost', 'lost', 'lost', 'threshold', 'ended', 'restarting', 'started', 'lost', 'ended'],
  )
  t.deepEqual(
    said.filter(({ line }) => line === 'lost').map(({ action }) => action),
    ['inject', 'inject', 'stop', 'inject'],
  )
  const [first, second] = said.filter(({ line }) => line === 'ended')
  t.like(first, { vm: said[0].vm, reason: 'policy', unretiredHostPages: 3 })
  t.like(second, { reason: 'shutdown', unretiredHostPages: 1 })
  t.not(first.vm, second.vm)
})

test('restart-after-pages.ts gives up where every VM loses too much', async (t) => {
  const example = fileURLToPath(new URL('../examples/restart-after-pages.js', import.meta.url))
  const args = [example, '--pages', '1', '--restarts', '2']
  const error = await t.throwsAsync<Error & { code?: number; stdout?: string }>(run(process.execPath, args))
  t.is(error?.code, 1)
  const said = (error?.stdout ?? '').trimEnd().split('\n')
  t.is(said.filter((line) => line.includes('"started"')).length, 3)
  t.is(said.at(-1), '{"line":"given-up","restarts":2}')
})

test('ask-policy-service.ts does what its service answers', async (t) => {
  const events: VmEvent[] = await lines(t, 'ask-policy-service', ['--timeout', '20000'])
  t.deepEqual(failures(events), [
    ['inject', 'decide'],
    ['stop', 'decide'],
  ])
  t.like(
    events.find(({ type }) => type === 'exit'),
    { exit: { reason: 'policy', vcpu: 0 } },
  )
})

test('ask-policy-service.ts does not wait for a slow service: its own policy decides', async (t) => {
  const began = performance.now()
  const events: VmEvent[] = await lines(t, 'ask-policy-service', ['--delay', '600000', '--timeout', '300'])
  t.true(performance.now() - began < 60_000)
  t.deepEqual(failures(events), [
    ['inject', 'fallback'],
    ['inject', 'fallback'],
  ])
  const fallbacks = events.filter((event) => event.type === 'decision-fallback')
  t.deepEqual(
    fallbacks.map(({ reason }) => reason),
    ['timeout', 'timeout'],
  )
  t.like(
    events.find(({ type }) => type === 'exit'),
    { exit: { reason: 'shutdown', vcpu: 0 } },
  )
})

test('ask-policy-service.ts asks another service, and takes nonsense and refusals for no answer', async (t) => {
  const asked: string[] = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request.setEncoding('utf8')) body += chunk
    asked.push(`${request.method} ${JSON.parse(body).gpa}`)
    if (asked.length === 1) response.end('{"action":"explode"}')
    else response.writeHead(503).end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    const events: VmEvent[] = await lines(t, 'ask-policy-service', ['--url', url, '--timeout', '20000'])
    t.deepEqual(asked, ['POST 0x80100000', 'POST 0x80101000'])
    const fallbacks = events.filter((event) => event.type === 'decision-fallback')
    t.deepEqual(
      fallbacks.map(({ reason }) => reason),
      ['invalid', 'rejected'],
    )
    t.regex(fallbacks[0]?.error ?? '', /for the decision about failure 2\.action but received "explode"$/)
    t.is(fallbacks[1]?.error, 'the policy service answered 503')
  } finally {
    server.close()
    server.closeAllConnections()
  }
})
