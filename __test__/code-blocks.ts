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

/** A command of the tool in a page, and what the page says that it prints. */
export interface Transcript {
  readonly name: string
  readonly args: readonly string[]
  /** Lines; `…` stands for any. */
  readonly prints: string
}

/** The commands of a page that need neither a host nor a file: they decode, or say what is wrong with them. */
export function transcriptsOfPage(path: string, name: string): Transcript[] {
  const blocks = [...readFileSync(path, 'utf8').matchAll(/^```text\n(.*?)^```$/gms)].map(
    ([, text = '']) => text,
  )
  const found = blocks.flatMap((text) => [...text.matchAll(/^\$ seawall (.*)\n((?:(?!\$ ).*\n)+)/gm)])
  return found
    .filter(([, command = '', prints = '']) => !command.includes('|') && needsNothing(command, prints))
    .map(([, command = '', prints = '']) => ({
      name: `${name}, ${command}`,
      args: command.split(' '),
      prints,
    }))
}

function needsNothing(command: string, prints: string): boolean {
  return command.startsWith('esr ') || prints.startsWith('seawall: Expected')
}
