import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import test from 'ava'
import { LiveView } from '#cli/live-view/live-view'
import { ask, connecting } from './live-view/ask.ts'
import { MEMORY, SPIN, viewOf } from './live-view/guest.ts'
import { PageConnection } from './live-view/page-connection.ts'

test('the page, its style, its icon and its scripts are served, and nothing that is not of it', async (t) => {
  const { view } = await viewOf(t, SPIN)
  const page = await ask(view.url)
  t.is(page.status, 200)
  t.is(page.headers['content-type'], 'text/html; charset=utf-8')
  const links = [...page.body.matchAll(/(?:href|src)="([^"#][^"]*)"/g)].map(([, link = '']) => link)
  t.deepEqual([...new Set(links)].sort(), [
    'icon.svg',
    'page/main.js',
    'style/base.css',
    'style/console.css',
    'style/events.css',
    'style/failures.css',
    'style/frame.css',
    'style/map.css',
  ])
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
  for (const path of ['', 'style/base.css', 'page/main.js', 'nowhere']) {
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
    for (const path of ['', 'stream', 'input', 'style/base.css']) {
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
