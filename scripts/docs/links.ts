import { readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { Parser } from 'htmlparser2'

/** What the links of a site lead to. */
export interface Links {
  /** The HTML pages, by their places. */
  readonly pages: readonly string[]
  /** How many links lead to somewhere in the site. */
  readonly inside: number
  /** Links to other sites, which nobody follows here. */
  readonly outside: readonly string[]
  /** Links that lead nowhere, a sentence each. */
  readonly broken: readonly string[]
}

/** Looks at every link, picture, script and style of every HTML page of a folder. */
export function checkLinks(folder: string): Links {
  const files = new Set(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => posix.relative(folder, posix.join(entry.parentPath, entry.name))),
  )
  const pages = [...files].filter((file) => file.endsWith('.html')).sort()
  const withAnchors = [...files].filter((file) => /\.(html|svg)$/.test(file))
  const read = new Map(withAnchors.map((page) => [page, readPage(readFileSync(join(folder, page), 'utf8'))]))
  const outside = new Set<string>()
  const broken: string[] = []
  let inside = 0
  for (const [page, { links, anchors }] of read) {
    for (const link of links) {
      if (/^(https?|mailto):/.test(link)) {
        outside.add(link)
        continue
      }
      if (link.startsWith('data:')) continue
      inside += 1
      const url = new URL(link, `http://site/${page}`)
      const target = decodeURIComponent(url.pathname.slice(1)).replace(/^$|\/$/, '$&index.html')
      const anchor = decodeURIComponent(url.hash.slice(1))
      if (url.host !== 'site' || !files.has(target)) broken.push(`${page}: ${link} is not there`)
      else if (anchor !== '' && !(target === page ? anchors : read.get(target)?.anchors)?.has(anchor))
        broken.push(`${page}: ${link} has no such anchor`)
    }
  }
  return { pages, inside, outside: [...outside].sort(), broken }
}

function readPage(html: string): { links: string[]; anchors: Set<string> } {
  const links: string[] = []
  const anchors = new Set<string>()
  const parser = new Parser({
    onopentag(_name, { id, href, src }) {
      if (id !== undefined) anchors.add(id)
      for (const link of [href, src]) if (link !== undefined) links.push(link)
    },
  })
  parser.end(html)
  return { links, anchors }
}
