import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, extname, join } from 'node:path'
import { packageStep, projectRoot, StepError } from '../step.ts'
import { memoryErrorDiagram } from './diagram.ts'
import { escapeHtml, highlight } from './highlight.ts'
import { type Rendered, render } from './markdown.ts'
import { groups, place } from './pages.ts'
import { type Entry, type Page, toDocument } from './template.ts'

/** Where the site is built. */
export const SITE = join(projectRoot, 'site')
/** The picture that docs/memory-errors.md shows, on GitHub too. */
export const DIAGRAM = join(projectRoot, 'docs', 'memory-error.svg')

const LANGUAGES: Record<string, string> = {
  '.ts': 'typescript',
  '.c': 'c',
  '.h': 'c',
  '.json': 'json',
  '.yml': 'yaml',
}

/** Builds the whole site anew, with the API reference. Returns how many pages of the project's own it has. */
export async function buildSite(): Promise<number> {
  rmSync(SITE, { recursive: true, force: true })
  const pages = collect()
  const navigation = groups().map(({ title, sources }) => ({
    title,
    entries: sources.map((source): Entry => ({ title: titleOf(pages, source), place: place(source) })),
  }))
  navigation.push({ title: 'Reference', entries: [{ title: 'API', place: 'api/index.html' }] })
  for (const [source, page] of pages) {
    write(place(source), 'html' in page ? toDocument(toPage(source, page), navigation) : page.bytes)
  }
  for (const name of ['style.css', 'icon.svg'])
    cpSync(join(projectRoot, 'scripts', 'docs', name), join(SITE, name))
  await buildReference()
  return pages.size
}

/** Draws the picture again where it is not what it should be; a spec says where nobody did. */
export function writeDiagram(): void {
  const drawn = memoryErrorDiagram()
  if (!existsSync(DIAGRAM) || readFileSync(DIAGRAM, 'utf8') !== drawn) writeFileSync(DIAGRAM, drawn)
}

/** A page, or a file that goes into the site as it is. */
type Content = Rendered | { readonly bytes: Buffer; readonly files: readonly string[] }

/** The pages of the navigation, and all that they lead to. */
function collect(): Map<string, Content> {
  const found = new Map<string, Content>()
  const open = groups().flatMap(({ sources }) => sources)
  for (let source = open.shift(); source !== undefined; source = open.shift()) {
    if (found.has(source)) continue
    const path = join(projectRoot, source)
    if (!existsSync(path) || !statSync(path).isFile())
      throw new StepError(`${source} is linked and is no file`)
    const content = read(source, readFileSync(path))
    found.set(source, content)
    open.push(...content.files)
  }
  return found
}

function read(source: string, bytes: Buffer): Content {
  if (source.endsWith('.svg')) return { bytes, files: [] }
  const text = bytes.toString('utf8')
  if (source.endsWith('.md')) return render(source, text)
  const code = highlight(text, LANGUAGES[extname(source)] ?? '')
  const html = `<h1>${escapeHtml(source)}</h1>\n<pre><code>${code}</code></pre>`
  return { title: source, headings: [], html, files: [] }
}

function titleOf(pages: ReadonlyMap<string, Content>, source: string): string {
  const page = pages.get(source)
  if (page === undefined || !('title' in page))
    throw new StepError(`${source} is in the navigation and is no page`)
  // README.md has the project's name for a title, which says nothing in a list of its pages.
  return source === 'README.md' ? 'README' : page.title
}

function toPage(source: string, { title, headings, html }: Rendered): Page {
  return { title, place: place(source), headings, body: html }
}

function write(to: string, content: string | Buffer): void {
  const path = join(SITE, to)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, content)
}

/** The reference of the package's types by TypeDoc; a warning is an error, such as a public symbol without a word on it. */
async function buildReference(): Promise<void> {
  await packageStep('typedoc/bin/typedoc', ['--out', join(SITE, 'api'), '--logLevel', 'Warn'])
}
