import { StepError } from '../step.ts'
import { buildSite, SITE } from './build.ts'
import { checkLinks } from './links.ts'

/** Builds the site and checks its links. */
export async function makeSite(): Promise<void> {
  const own = await buildSite()
  const { pages, inside, outside, broken } = checkLinks(SITE)
  for (const link of outside) process.stdout.write(`not followed: ${link}\n`)
  for (const sentence of broken) process.stderr.write(`${sentence}\n`)
  if (broken.length > 0) throw new StepError(`${broken.length} links of the site lead nowhere`)
  process.stdout.write(
    `site/index.html: ${own} files and ${pages.length - own} pages of the API reference; ${inside} links lead somewhere in it, ${outside.length} elsewhere\n`,
  )
}
