import { createRequire } from 'node:module'

/** What is used of highlight.js. Its own types bring those of the DOM, which programs for Node do not have. */
interface Highlighter {
  registerLanguage(name: string, language: unknown): void
  registerAliases(aliases: readonly string[], options: { languageName: string }): void
  getLanguage(name: string): unknown
  highlight(code: string, options: { language: string; ignoreIllegals: boolean }): { value: string }
}

const require = createRequire(import.meta.url)
const hljs = require('highlight.js/lib/core') as Highlighter
for (const name of ['bash', 'c', 'json', 'typescript', 'yaml'])
  hljs.registerLanguage(name, require(`highlight.js/lib/languages/${name}`))
hljs.registerAliases(['js', 'ts'], { languageName: 'typescript' })

/** Code as HTML, coloured where its language is known. */
export function highlight(code: string, language: string): string {
  if (hljs.getLanguage(language) === undefined) return escapeHtml(code)
  return hljs.highlight(code, { language, ignoreIllegals: true }).value
}

/** Text in which nothing is HTML. */
export function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}
