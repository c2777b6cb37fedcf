import type { Tally } from '../tally.ts'
import { lookAtSite } from './browser.ts'
import { buildSite, SITE } from './build.ts'
import { findChromium } from './chromium.ts'
import { checkLinks } from './links.ts'

/** Builds the site and looks at every page of it in a browser; each is one test. Without a browser that is skipped. */
export async function testSite(tally: Tally): Promise<void> {
  await buildSite()
  const browser = await findChromium()
  if ('missing' in browser) {
    tally.skipped.push(`the pages of docs/ in a browser: ${browser.missing}`)
    return
  }
  const began = performance.now()
  const looks = await lookAtSite(SITE, checkLinks(SITE).pages, browser.path)
  for (const { page, complaints } of looks) {
    if (complaints.length === 0) tally.passed += 1
    for (const complaint of complaints) tally.fail(`site/${page}: ${complaint}`)
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1)
  process.stdout.write(`Chromium ${browser.version} looked at ${looks.length} pages in ${seconds} s\n`)
}
