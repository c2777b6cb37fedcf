import { existsSync, readdirSync } from 'node:fs'
import { join, posix } from 'node:path'
import { projectRoot } from '../step.ts'

/** The site's navigation: groups of pages, by their source in the project. */
const GROUPS: readonly { readonly title: string; readonly sources: readonly string[] }[] = [
  { title: 'Begin', sources: ['docs/start.md', 'docs/memory-errors.md', 'docs/faq.md'] },
  {
    title: 'Use',
    sources: [
      'docs/events.md',
      'docs/policies.md',
      'docs/cookbook.md',
      'docs/errors.md',
      'docs/linux-guests.md',
      'docs/cli.md',
    ],
  },
  { title: 'Run', sources: ['docs/host-setup.md', 'docs/limits.md'] },
  {
    title: 'Test and measure',
    sources: [
      'docs/testing.md',
      'docs/blast-radius.md',
      'docs/performance.md',
      'docs/soak.md',
      'docs/lab.md',
    ],
  },
  {
    title: 'Project',
    sources: [
      'README.md',
      'ARCHITECTURE.md',
      'CONTRIBUTING.md',
      'docs/releasing.md',
      'SECURITY.md',
      'CHANGELOG.md',
    ],
  },
]

/** The page that the site begins with. */
export const FIRST = 'docs/start.md'

/** A group of the navigation. */
export interface Group {
  readonly title: string
  readonly sources: readonly string[]
}

/** The groups of the navigation, with every page of docs/: those that no group names are in the last of all. */
export function groups(): readonly Group[] {
  const named = new Set(GROUPS.flatMap(({ sources }) => sources))
  const more = readdirSync(join(projectRoot, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`)
    .filter((source) => !named.has(source))
  const there = GROUPS.map(({ title, sources }) => ({
    title,
    // docs/performance.md is written by `npm run bench`.
    sources: sources.filter((source) => existsSync(join(projectRoot, source))),
  }))
  return more.length === 0 ? there : [...there, { title: 'More', sources: more.sort() }]
}

/** Where a file of the project lies in the site: pages as HTML, pictures as they are, other files as a page with their text. */
export function place(source: string): string {
  if (source === FIRST) return 'index.html'
  const path = source.startsWith('docs/') ? source.slice('docs/'.length) : source
  if (path.endsWith('.svg')) return path
  return `${path.replace(/\.md$/, '')}.html`
}

/** The link from one place of the site to another. */
export function relative(from: string, to: string): string {
  return posix.relative(posix.dirname(from), to) || posix.basename(to)
}
