import { escapeHtml } from './highlight.ts'
import type { Heading } from './markdown.ts'
import { relative } from './pages.ts'

/** An entry of the navigation. */
export interface Entry {
  readonly title: string
  /** Its place in the site. */
  readonly place: string
}

/** A page of the site. */
export interface Page {
  readonly title: string
  readonly place: string
  readonly headings: readonly Heading[]
  readonly body: string
}

/** A whole HTML document. Nothing in it needs a script, and nothing comes from elsewhere. */
export function toDocument(
  page: Page,
  navigation: readonly { title: string; entries: readonly Entry[] }[],
): string {
  const link = (to: string) => escapeHtml(relative(page.place, to))
  const list = (entries: readonly Entry[]) =>
    entries
      .map(({ title, place }) => {
        const here = place === page.place
        const current = here ? ' aria-current="page"' : ''
        return `<li><a href="${link(place)}"${current}>${escapeHtml(title)}</a>${here ? contents(page) : ''}</li>`
      })
      .join('\n')
  const groups = navigation
    .map(({ title, entries }) => `<h2>${escapeHtml(title)}</h2>\n<ul>\n${list(entries)}\n</ul>`)
    .join('\n')
  const title = page.title === 'Seawall' ? page.title : `${page.title} - Seawall`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'self'; img-src 'self'">
<title>${escapeHtml(title)}</title>
<link rel="icon" href="${link('icon.svg')}">
<link rel="stylesheet" href="${link('style.css')}">
</head>
<body>
<a class="skip" href="#content">To the text</a>
<header><a href="${link('index.html')}">Seawall</a><a class="to-pages" href="#pages">Pages</a></header>
<main id="content">
${page.body}
</main>
<nav id="pages" aria-label="Pages">
${groups}
</nav>
</body>
</html>
`
}

/** The page's own sections, in the navigation. */
function contents({ headings }: Page): string {
  const sections = headings.filter(({ level }) => level === 2)
  if (sections.length < 2) return ''
  const items = sections.map(({ anchor, text }) => `<li><a href="#${anchor}">${escapeHtml(text)}</a></li>`)
  return `\n<ul>\n${items.join('\n')}\n</ul>`
}
