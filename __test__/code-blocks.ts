import { readFileSync } from 'node:fs'

/** A block of code in a page of Markdown, or in the comment of a public symbol. */
export interface CodeBlock {
  /** Where it is, for people. */
  readonly name: string
  readonly language: 'ts' | 'js'
  readonly code: string
  /** What the page says that it prints, where it says so. */
  readonly prints: string | undefined
}

/** The blocks of code of a page, with what "It prints" behind one says. */
export function blocksOfPage(path: string, name: string): CodeBlock[] {
  return blocks(readFileSync(path, 'utf8'), name)
}

/** The examples in the comments of a TypeScript file. */
export function blocksOfComments(path: string, name: string): CodeBlock[] {
  const comments = readFileSync(path, 'utf8').match(/^ *\/\*\*.*?\*\//gms) ?? []
  return blocks(comments.map((comment) => comment.replaceAll(/^ *\* ?/gm, '')).join('\n'), name)
}

function blocks(text: string, name: string): CodeBlock[] {
  const found = text.matchAll(/^```(ts|js)\n(.*?)^```$(?:\n+It prints:\n\n```text\n(.*?)^```$)?/gms)
  return [...found].map(([, language, code = '', prints], index) => ({
    name: `${name}, example ${index + 1}`,
    language: language as 'ts' | 'js',
    code,
    prints,
  }))
}

/** Whether a block is a whole program; else it is a piece of one. */
export function isProgram({ code }: CodeBlock): boolean {
  return code.includes("from 'seawall'")
}

/** Whether it needs files that only its reader has. */
export function needsMore({ code }: CodeBlock): boolean {
  return /'(Image|guest\.bin)'/.test(code)
}
