import { posix } from 'node:path'
import MarkdownIt from 'markdown-it'
import { StepError } from '../step.ts'
import { highlight } from './highlight.ts'
import { place, relative } from './pages.ts'
import { Anchors } from './slug.ts'

/** A heading of a page. */
export interface Heading {
  readonly level: number
  readonly anchor: string
  readonly text: string
}

/** A page of Markdown as HTML, and what it refers to. */
export interface Rendered {
  readonly title: string
  readonly headings: readonly Heading[]
  readonly html: string
  /** The files of the project that it links or shows. */
  readonly files: readonly string[]
}

/** Renders a page. `source` is its path in the project; links to other files of the project lead to their places in the site. */
export function render(source: string, text: string): Rendered {
  const markdown = new MarkdownIt({ html: false, linkify: false, highlight })
  // A block that is wider than a phone scrolls by itself, for the keyboard too.
  markdown.renderer.rules['table_open'] = () => '<div class="wide" tabindex="0"><table>\n'
  markdown.renderer.rules['table_close'] = () => '</table></div>\n'
  const tokens = markdown.parse(text, {})
  const anchors = new Anchors()
  const headings: Heading[] = []
  const files: string[] = []
  const resolve = (link: string): string => {
    if (/^[a-z]+:/.test(link) || link.startsWith('#')) return link
    const [path = '', anchor] = link.split('#')
    const file = posix.normalize(posix.join(posix.dirname(source), path))
    if (file.startsWith('..')) throw new StepError(`${source}: Expected a file of the project for ${link}`)
    files.push(file)
    return relative(place(source), place(file)) + (anchor === undefined ? '' : `#${anchor}`)
  }
  for (const [index, token] of tokens.entries()) {
    if (token.type === 'heading_open') {
      const content = tokens[index + 1]?.children ?? []
      const anchor = anchors.next(content.map((part) => part.content).join(''))
      token.attrSet('id', anchor)
      headings.push({ level: Number(token.tag.slice(1)), anchor, text: content.map(words).join('') })
    }
    for (const child of token.children ?? []) {
      const name = child.type === 'link_open' ? 'href' : child.type === 'image' ? 'src' : null
      if (name !== null) child.attrSet(name, resolve(String(child.attrGet(name))))
    }
  }
  const title = headings.find(({ level }) => level === 1)?.text
  if (title === undefined) throw new StepError(`${source}: Expected a heading of the first level`)
  return { title, headings, html: markdown.renderer.render(tokens, markdown.options, {}), files }
}

function words({ type, content }: { type: string; content: string }): string {
  return type === 'text' || type === 'code_inline' ? content : ''
}
