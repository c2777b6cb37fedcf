import { NO_BROWSER } from '../browser.ts'
import type { Tally } from '../tally.ts'
import { lookAtSite } from './browser.ts'
import { buildSite, SITE } from './build.ts'
import { checkLinks } from './links.ts'

/** Builds the site and looks at every page of it in a browser; each is one test. Without a browser that is skipped. */
export async function testSite(tally: Tally, browser: string | null): Promise<void> {
  await buildSite()
  if (browser === null) {
    tally.skipped.push(`the pages of docs/: ${NO_BROWSER}`)
    return
  }
  const began = performance.now()
  const looks = await lookAtSite(SITE, checkLinks(SITE).pages, browser)
  for (const { page, complaints } of looks) {
    if (complaints.length === 0) tally.passed += 1
    for (const complaint of complaints) tally.fail(`site/${page}: ${complaint}`)
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1)
  process.stdout.write(`${looks.length} pages of the site were looked at in ${seconds} s\n`)
}
