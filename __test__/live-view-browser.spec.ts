// The live view in a browser: SEAWALL_BROWSER is the path of one; without it one of this machine is taken.
// SEAWALL_SCREENSHOTS is a folder into which the page is photographed.
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { Browser, Page } from 'playwright-core'
import { decodeEsr, type SimulatedStep, simulated, Vm, type VmOptions } from 'seawall'
import { LiveView } from '#cli/live-view/live-view'
import { findBrowser, NO_BROWSER, openBrowser } from '../scripts/browser.ts'
import { lost as accessOfLost, MEMORY, SPIN } from './live-view/guest.ts'
import { Relay } from './live-view/relay.ts'

/** The guest's kernel loads from a lost page. */
const ESR = accessOfLost.esr
const lost: SimulatedStep = { ...accessOfLost, gpa: 0x8200_0000n, pstate: 0x3c5n }

const path = findBrowser()
const inBrowser = path === null ? test.skip : test.serial
const skipped = path === null ? `: ${NO_BROWSER}` : ''
let browser: Browser | undefined
test.before(async () => {
  if (path !== null) browser = await openBrowser(path)
})
test.after.always(() => browser?.close())

interface Seen {
  vm: Vm
  view: LiveView
  page: Page
  /** What the browser has complained of. */
  complaints: string[]
}

/** Opens the view of a guest that plays a script, and lets it run. */
async function look(
  t: ExecutionContext,
  steps: SimulatedStep[],
  { vm: options = {}, width = 1280 }: { vm?: Partial<VmOptions>; width?: number } = {},
): Promise<Seen> {
  const boot = { type: 'flat', image: new Uint8Array(4) } as const
  const backend = simulated({ script: [steps] })
  const vm = await Vm.create({ name: 'seen', memory: MEMORY, boot, backend, ...options })
  const view = await LiveView.open(vm, { memory: MEMORY })
  t.teardown(async () => {
    await vm.close()
    await view.close()
  })
  if (browser === undefined) throw new Error('there is no browser')
  const page = await browser.newPage({ viewport: { width, height: 844 } })
  t.teardown(() => page.close())
  const complaints: string[] = []
  page.on('console', (message) => complaints.push(`${message.type()}: ${message.text()}`))
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('request', (request) => {
    if (!request.url().startsWith(view.url)) complaints.push(`fetched ${request.url()}`)
  })
  await page.goto(view.url)
  await vm.start()
  return { vm, view, page, complaints }
}

/** Waits until an element has the text. */
async function shows(page: Page, selector: string, text: string | RegExp): Promise<void> {
  await page.locator(selector).filter({ hasText: text }).first().waitFor({ state: 'visible' })
}

inBrowser(`the page shows a guest: its name, its state, its console, no complaint${skipped}`, async (t) => {
  const { page, complaints } = await look(t, [{ step: 'print', text: 'hello\n' }, SPIN])
  await shows(page, 'h1', 'seen')
  await shows(page, '#vm-state', 'running')
  await shows(page, '#connection', 'live')
  await shows(page, '#screen', 'hello')
  await shows(page, '#no-failures', 'None so far')
  t.is(await page.title(), 'seen · Seawall')
  t.deepEqual(complaints, [])
})

inBrowser(`a failure appears as it happens, with every field of its syndrome${skipped}`, async (t) => {
  const { page, complaints } = await look(t, [lost, SPIN])
  await shows(page, '.failure[open] summary', '0x82000000')
  await shows(page, '.failure[open] .words', /memory error in page 0x82000000, met in kernel mode by vCPU 0/)
  const rows = await page.locator('.failure[open] tbody tr').allTextContents()
  const { fields } = decodeEsr(ESR)
  t.is(rows.length, fields.length)
  for (const { name, bits, value, meaning } of fields) {
    const range = bits[0] === bits[1] ? `${bits[0]}` : `${bits[0]}:${bits[1]}`
    const row = `${name}${range}0x${value.toString(16)}${meaning}`
    t.true(
      rows.some((found) => found.startsWith(row)),
      row,
    )
  }
  t.regex(rows[0] ?? '', /^EC/, 'what says nothing comes last')
  const zeroes = page.locator('.zeroes tbody tr').filter({ hasText: 'RES0' }).first()
  t.false(await zeroes.isVisible())
  await page.locator('.zeroes > summary').click()
  t.true(await zeroes.isVisible())
  // KVM reports a lower Exception level; the guest's kernel reads that it was its own.
  t.is(await page.locator('.failure[open] .reads').count(), 1)
  t.regex(
    (await page.locator('.failure[open] .reads').textContent()) ?? '',
    /^guest reads 0x25: Data Abort taken without/,
  )
  await shows(page, '#failure-count', '1')
  t.deepEqual(complaints, [])
})

inBrowser(
  `the map shows where a page is lost, and what was done about it, in colour and in words${skipped}`,
  async (t) => {
    const { vm, page, complaints } = await look(t, [lost, SPIN])
    await shows(page, '#pages tr', '0x82000000')
    const cells = await page.locator('#pages td').allTextContents()
    t.deepEqual(cells.slice(0, 5), ['0x82000000', '4 KiB', 'quarantined', '1', 'sea'])
    const cell = page.locator('#grid .cell.lost')
    t.is(await cell.count(), 1)
    // 64 MiB in 256 cells: the page is 32 MiB behind the beginning.
    t.is(await page.locator('#grid .cell').nth(128).textContent(), 'Q')
    t.is(await cell.getAttribute('title'), '1 lost page, quarantined, in 0x82000000 to 0x8203ffff')
    t.is(
      await page.locator('#grid').getAttribute('aria-label'),
      'Map of guest RAM. Lost pages: 1 quarantined',
    )
    const colour = () =>
      page.evaluate("getComputedStyle(document.querySelector('#grid .lost')).backgroundColor")
    const before = await colour()
    await vm.pause()
    await vm.replacePage(0x8200_0000n)
    await shows(page, '#pages tr', 'replaced')
    await shows(page, '#lost-pages-states', '1 replaced')
    t.is(await cell.textContent(), 'R')
    t.regex(String(before), /^rgb/)
    t.not(await colour(), before)
    await shows(page, '#vm-state', 'paused')
    await shows(page, '#timeline', 'page 0x82000000 was quarantined and is replaced')
    t.deepEqual(complaints, [])
  },
)

inBrowser(`what the guest prints stays text, and so does its name${skipped}`, async (t) => {
  const attack = '<img src=x onerror="document.title=1"><script>document.title=2</script><b id=owned>'
  const { page, complaints } = await look(t, [{ step: 'print', text: `${attack}\nend\n` }, lost, SPIN], {
    vm: { name: attack, id: attack },
  })
  await shows(page, '#screen', 'end')
  await shows(page, '.failure', '0x82000000')
  t.is(await page.locator('#screen .line').first().textContent(), attack)
  t.is(await page.locator('h1').textContent(), attack)
  t.is(await page.locator('#owned, #screen img, #screen script, h1 img').count(), 0)
  t.is(await page.title(), `${attack} · Seawall`)
  t.deepEqual(complaints, [])
})

inBrowser(
  `of many failures the newest are shown, the older for who asks, and what is missing is counted${skipped}`,
  async (t) => {
    const storm = Array.from({ length: 1100 }, (_, index): SimulatedStep[] => [
      { ...lost, gpa: 0x8100_0000n + BigInt(index) * 4096n },
      { step: 'run', us: 1 },
    ])
    const { vm, view, page, complaints } = await look(t, [
      ...storm.flat(),
      { step: 'print', text: 'done' },
      SPIN,
    ])
    await shows(page, '#screen', 'done')
    // A page that comes now cannot be told the oldest.
    await page.goto(view.url)
    await shows(page, '#not-told', /^\d+ events came before this page was open, or faster than it is told/)
    await shows(page, '#lost-pages', '1,100')
    await shows(page, '.failure > summary', `#${Number(vm.stats().delivered)}`)
    const shown = () => page.locator('.failure:visible').count()
    t.is(await shown(), 25)
    await page.getByRole('button', { name: 'Show 75 older failures' }).click()
    t.is(await shown(), 100)
    t.false(await page.locator('#older').isVisible())
    await shows(page, '#more-failures', 'older failures are no longer shown')
    t.deepEqual(complaints, [])
  },
)

for (const width of [390, 320]) {
  inBrowser(`at ${width} pixels nothing is wider than the page${skipped}`, async (t) => {
    const text = `${'x'.repeat(300)}\n`
    const { page, complaints } = await look(t, [{ step: 'print', text }, lost, SPIN], { width })
    await shows(page, '.failure[open] .words', 'memory error')
    await shows(page, '#pages', 'quarantined')
    t.is(await page.evaluate('document.documentElement.scrollWidth'), width)
    t.deepEqual(complaints, [])
  })
}

inBrowser(`everything can be reached by keys, and what is hidden is named${skipped}`, async (t) => {
  const { page } = await look(t, [lost, SPIN])
  await shows(page, '.failure[open] .words', 'memory error')
  const reached: string[] = []
  for (let index = 0; index < 12; index += 1) {
    await page.keyboard.press('Tab')
    reached.push(await page.evaluate('document.activeElement.id || document.activeElement.tagName'))
  }
  for (const expected of ['A', 'SUMMARY', 'SECTION', 'screen', 'input', 'send', 'interrupt', 'page-table'])
    t.true(reached.includes(expected), `${expected} is not among ${reached}`)
  await page.locator('.failure > summary').focus()
  await page.keyboard.press('Enter')
  t.is(await page.locator('.failure[open]').count(), 0)
  for (const name of ['A line for the guest', 'Send', 'Ctrl-C'])
    t.is(await page.getByLabel(name).or(page.getByRole('button', { name })).count(), 1, name)
  await page.locator('#announcer').filter({ hasText: 'memory error in page' }).waitFor({ state: 'attached' })
})

inBrowser(`a connection that was lost is taken up again, and nothing is shown twice${skipped}`, async (t) => {
  const { vm, view, page } = await look(t, [{ step: 'print', text: 'once\n' }, lost, SPIN])
  const { port, pathname } = new URL(view.url)
  const relay = new Relay(Number(port))
  t.teardown(() => relay.close())
  await page.goto(`http://127.0.0.1:${await relay.port()}${pathname}`)
  await shows(page, '.failure', '0x82000000')
  await shows(page, '#screen', 'once')
  relay.cut()
  await shows(page, '#connection', 'connection lost')
  await shows(page, '#stale', 'What is shown may be out of date')
  await vm.reportPoison(0x8300_0000n, 4096)
  await shows(page, '.failure', '0x83000000')
  await shows(page, '#connection', 'live')
  t.false(await page.locator('#stale').isVisible())
  t.is(await page.locator('.failure').count(), 2)
  t.is(await page.locator('#screen').textContent(), 'once')
  t.is(relay.requests.filter((request) => /^last-event-id: [0-9a-f]{8}-\d+-5$/im.test(request)).length, 1)
})

inBrowser(`the end is shown, stays, and is not taken for a lost connection${skipped}`, async (t) => {
  const { vm, view, page, complaints } = await look(t, [lost, { step: 'crash' }])
  await shows(page, '#ending', 'The guest has crashed (vCPU 0)')
  await vm.close()
  await view.ended
  await shows(page, '#connection', 'ended')
  await shows(page, '#vm-state', 'closed')
  t.true(await page.locator('#input').isDisabled())
  t.is(await page.locator('#input').getAttribute('placeholder'), 'The guest has ended')
  t.false(await page.locator('#stale').isVisible())
  await shows(page, '.failure', '0x82000000')
  t.deepEqual(complaints, [])
})

inBrowser(`it is there in light and in dark${skipped}`, async (t) => {
  const { page } = await look(t, [{ step: 'print', text: 'hello\n' }, lost, SPIN])
  await shows(page, '.failure[open] .words', 'memory error')
  const colours: unknown[] = []
  const folder = process.env['SEAWALL_SCREENSHOTS']
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme })
    colours.push(await page.evaluate('getComputedStyle(document.documentElement).backgroundColor'))
    if (folder !== undefined)
      await page.screenshot({ path: join(folder, `live-view-${colorScheme}.png`), fullPage: true })
  }
  t.is(new Set(colours).size, 2)
})
