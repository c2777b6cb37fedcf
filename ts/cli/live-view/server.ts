import { timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { invalidOption } from '../../errors.ts'

/** How many connections there may be at a time, of whatever kind. */
const CONNECTIONS = 64
/** How long a connection may take to say what it wants, and how often that is looked at: else others of this machine hold them all. */
const HEADERS_MS = 5000
/** How much input one request may bring, in bytes. */
const INPUT_BYTES = 4096

/** What the guest prints is text, and nothing else is to be fetched, run or framed. The browser sees to it too. */
const HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy':
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
} as const

/** What the server leaves to the view. */
export interface Routes {
  /** Takes over a response that was begun; answers whether there is room. */
  stream(request: IncomingMessage, response: ServerResponse): boolean
  /** Takes input for the guest; answers whether it did. */
  input(bytes: Uint8Array): boolean
}

/** A server that listens. */
export interface ViewServer {
  readonly port: number
  /** Takes no more requests, and ends every connection that is not done after a time in milliseconds. */
  close(graceMs: number): Promise<void>
}

/**
 * Serves the page on 127.0.0.1, below a path that is secret.
 *
 * @throws {@link SeawallError} `ERR_INVALID_OPTION` where the port cannot be had.
 */
export async function serve(port: number, secret: string, routes: Routes): Promise<ViewServer> {
  const assets = readAssets()
  const server = createServer({ headersTimeout: HEADERS_MS, connectionsCheckingInterval: HEADERS_MS })
  server.maxConnections = CONNECTIONS
  server.listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw invalidOption(`a port that is free (${code})`, '--ui', String(port))
  }
  // A connection that could not be taken, where there are no more files for one.
  server.on('error', () => {})
  const bound = (server.address() as AddressInfo).port
  server.on('request', (request, response) => {
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value)
    const path = pathBelow(secret, request.url ?? '')
    // A page of another site whose name leads here (DNS rebinding) sends that name.
    if (!isOwnHost(request.headers.host, bound)) refuse(response, 421, 'this is not the host that you think')
    else if (path === null) refuse(response, 404, 'the address of the live view is the one that was printed')
    else if (path === 'input') void takeInput(request, response, routes)
    else if (request.method !== 'GET' && request.method !== 'HEAD')
      refuse(response, 405, 'GET or HEAD', 'GET, HEAD')
    else if (path === 'stream') openStream(request, response, routes)
    else answer(response, assets.get(path))
  })
  return { port: bound, close: (graceMs) => close(server, graceMs) }
}

interface Asset {
  readonly type: string
  readonly content: Buffer
}

/** Everything that the page consists of, by its path. */
function readAssets(): ReadonlyMap<string, Asset> {
  const folder = new URL('../../../live-view/', import.meta.url)
  const styles = new URL('style/', folder)
  const scripts = new URL('page/', import.meta.url)
  const asset = (base: URL, name: string, type: string) => ({
    type,
    content: readFileSync(new URL(name, base)),
  })
  return new Map([
    ['', asset(folder, 'index.html', 'text/html; charset=utf-8')],
    ['icon.svg', asset(folder, 'icon.svg', 'image/svg+xml')],
    ...namesIn(styles, '.css').map(
      (name) => [`style/${name}`, asset(styles, name, 'text/css; charset=utf-8')] as const,
    ),
    ...namesIn(scripts, '.js').map(
      (name) => [`page/${name}`, asset(scripts, name, 'text/javascript; charset=utf-8')] as const,
    ),
  ])
}

function namesIn(folder: URL, ending: string): string[] {
  return readdirSync(fileURLToPath(folder)).filter((name) => name.endsWith(ending))
}

function pathBelow(secret: string, url: string): string | null {
  const [, first = '', rest] = /^\/([^/?]*)\/([^?]*)/.exec(url) ?? []
  const [given, wanted] = [Buffer.from(first), Buffer.from(secret)]
  return rest !== undefined && given.length === wanted.length && timingSafeEqual(given, wanted) ? rest : null
}

function isOwnHost(host: string | undefined, port: number): boolean {
  return ['127.0.0.1', 'localhost'].some(
    (name) => host === `${name}:${port}` || (port === 80 && host === name),
  )
}

function refuse(response: ServerResponse, status: number, why: string, allow?: string): void {
  if (allow !== undefined) response.setHeader('allow', allow)
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(`${why}\n`)
}

function answer(response: ServerResponse, asset: Asset | undefined): void {
  if (asset === undefined) refuse(response, 404, 'nothing is here')
  else response.writeHead(200, { 'content-type': asset.type }).end(asset.content)
}

function openStream(request: IncomingMessage, response: ServerResponse, routes: Routes): void {
  response.setHeader('content-type', 'text/event-stream')
  if (request.method === 'HEAD') response.end()
  else if (!routes.stream(request, response)) {
    response.setHeader('retry-after', '5')
    refuse(response, 503, 'too many pages listen')
  }
}

async function takeInput(request: IncomingMessage, response: ServerResponse, routes: Routes): Promise<void> {
  if (request.method !== 'POST') {
    refuse(response, 405, 'POST', 'POST')
    return
  }
  const chunks: Buffer[] = []
  let length = 0
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      length += chunk.length
      if (length > INPUT_BYTES) {
        response.setHeader('connection', 'close')
        refuse(response, 413, `at most ${INPUT_BYTES} bytes`)
        return
      }
      chunks.push(chunk)
    }
  } catch {
    // It has gone away in the middle.
    return
  }
  if (routes.input(Buffer.concat(chunks))) response.writeHead(204).end()
  else refuse(response, 409, 'the guest takes no input')
}

async function close(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise((resolve) => server.close(resolve))
  server.closeIdleConnections()
  const force = setTimeout(() => server.closeAllConnections(), graceMs)
  await closed
  clearTimeout(force)
}
