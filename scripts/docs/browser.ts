import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { extname, join, normalize } from 'node:path'
import type { Page } from 'playwright-core'
import { openBrowser } from '../browser.ts'

const PHONE = { width: 390, height: 844 }
const DESK = { width: 1280, height: 800 }
/** The picture that is drawn without knowing how wide its letters are. */
const PICTURE = 'memory-error.svg'
const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
}

/** What one page looks like in the browser. */
export interface Look {
  readonly page: string
  /** What is wrong with it, a sentence each. */
  readonly complaints: readonly string[]
}

/** What a page says of itself, evaluated in the browser. */
interface Facts {
  readonly title: string
  readonly heading: string
  readonly width: number
  readonly pictures: readonly string[]
  readonly links: readonly string[]
  readonly anchors: readonly string[]
}

/** Looks at every page of a folder in Chromium: on a phone and on a desk, in light and dark, with all its links. */
export async function lookAtSite(
  folder: string,
  pages: readonly string[],
  executablePath: string,
): Promise<Look[]> {
  const server = serve(folder)
  await once(server, 'listening')
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const browser = await openBrowser(executablePath)
  try {
    const tab = await browser.newPage({ viewport: PHONE })
    const facts = new Map<string, Facts>()
    const looks: Look[] = []
    for (const page of pages) {
      const complaints: string[] = []
      facts.set(`${origin}/${page}`, await lookAt(tab, origin, page, complaints))
      looks.push({ page, complaints })
    }
    looks.push({ page: PICTURE, complaints: await lookAtPicture(tab, `${origin}/${PICTURE}`) })
    // Only now is it known which anchors the pages have in the browser.
    for (const { page, complaints } of looks as { page: string; complaints: string[] }[]) {
      for (const link of facts.get(`${origin}/${page}`)?.links ?? []) {
        const [target = '', anchor = ''] = link.split('#')
        const there = facts.get(target.endsWith('/') ? `${target}index.html` : target)
        if (there === undefined) complaints.push(`${link} leads to no page`)
        else if (anchor !== '' && !there.anchors.includes(decodeURIComponent(anchor)))
          complaints.push(`${link} leads to no element`)
      }
    }
    return looks
  } finally {
    await browser.close()
    server.close()
    server.closeAllConnections()
  }
}

async function lookAt(tab: Page, origin: string, page: string, complaints: string[]): Promise<Facts> {
  tab.removeAllListeners()
  tab.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(`the console says: ${message.text()}`)
  })
  tab.on('pageerror', (error) => complaints.push(`a script fails: ${error.message}`))
  tab.on('requestfailed', (request) => complaints.push(`${request.url()} cannot be fetched`))
  tab.on('request', (request) => {
    if (!request.url().startsWith(`${origin}/`) && !request.url().startsWith('data:'))
      complaints.push(`${request.url()} is asked for, which is another site's`)
  })
  tab.on('response', (response) => {
    if (response.status() !== 200) complaints.push(`${response.url()} answers ${response.status()}`)
  })
  await tab.setViewportSize(PHONE)
  await tab.goto(`${origin}/${page}`, { waitUntil: 'load' })
  const facts = await factsOf(tab)
  if (facts.title === '') complaints.push('it has no title')
  if (facts.heading === '') complaints.push('it shows no heading')
  for (const picture of facts.pictures) complaints.push(`${picture} is not drawn`)
  if (facts.width > PHONE.width)
    complaints.push(`it is ${facts.width} pixels wide on a phone of ${PHONE.width}`)
  const light = await ground(tab, 'light')
  if ((await ground(tab, 'dark')) === light) complaints.push('it looks the same in light and dark')
  await tab.setViewportSize(DESK)
  const { width } = await factsOf(tab)
  if (width > DESK.width) complaints.push(`it is ${width} pixels wide on a screen of ${DESK.width}`)
  return facts
}

/** The picture's text has to stay inside of its box. */
async function lookAtPicture(tab: Page, url: string): Promise<string[]> {
  tab.removeAllListeners()
  await tab.goto(url)
  const outside: string[] = await tab.evaluate(`[...document.querySelectorAll('g')].flatMap((group) => {
    const { x, width } = group.querySelector('.box').getBBox()
    const texts = [...group.querySelectorAll('text')]
    return texts.filter((text) => text.getBBox().x + text.getBBox().width > x + width).map((text) => text.textContent)
  })`)
  return outside.map((text) => `"${text}" does not fit into its box`)
}

/** The colour of the page's ground. */
async function ground(tab: Page, colorScheme: 'light' | 'dark'): Promise<string> {
  await tab.emulateMedia({ colorScheme })
  return await tab.evaluate('getComputedStyle(document.body).backgroundColor')
}

async function factsOf(tab: Page): Promise<Facts> {
  return await tab.evaluate(`({
    title: document.title,
    heading: document.querySelector('h1')?.innerText ?? '',
    width: document.documentElement.scrollWidth,
    pictures: [...document.images].filter((image) => image.naturalWidth === 0).map((image) => image.src),
    links: [...new Set([...document.querySelectorAll('a[href]')].map((link) => link.href))]
      .filter((link) => link.startsWith(location.origin + '/')),
    anchors: [...document.querySelectorAll('[id]')].map((element) => element.id),
  })`)
}

/** Serves a folder on the loopback interface. */
function serve(folder: string): Server {
  const server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url ?? '/', 'http://site').pathname))
    try {
      const content = readFileSync(join(folder, path.endsWith('/') ? `${path}index.html` : path))
      response
        .writeHead(200, { 'content-type': TYPES[extname(path)] ?? 'application/octet-stream' })
        .end(content)
    } catch {
      response.writeHead(404).end()
    }
  })
  return server.listen(0, '127.0.0.1')
}
