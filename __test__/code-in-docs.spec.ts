// Every block of TypeScript or JavaScript in README.md, docs/ and the comments of the public API compiles; every program among
// them that needs nothing else runs, and prints what its page says. So do commands of the tool.
import { execFile } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import ts from 'typescript'
import {
  blocksOfComments,
  blocksOfPage,
  type CodeBlock,
  isProgram,
  needsMore,
  transcriptsOfPage,
} from './code-blocks.ts'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))
/** Inside the package, so that a block finds `seawall` as its reader's program does. */
const folder = join(root, 'build', 'code-in-docs')

const pages = ['README.md', ...names('docs', '.md').map((name) => `docs/${name}`)]
const blocks = [
  ...pages.flatMap((page) => blocksOfPage(join(root, page), page)),
  ...names('ts', '.ts').flatMap((name) => blocksOfComments(join(root, 'ts', name), `ts/${name}`)),
].map((block, index) => ({
  ...block,
  path: join(folder, `${index}.${block.language === 'js' ? 'mjs' : 'mts'}`),
}))

/** What a piece of a program may take for granted, by name. */
const GIVEN: Record<string, string> = {
  jsonReplacer: "import { jsonReplacer } from 'seawall'",
  jsonReviver: "import { jsonReviver } from 'seawall'",
  Vm: "import { Vm } from 'seawall'",
  vm: "declare const vm: import('seawall').Vm",
  Decide: "import type { Decide } from 'seawall'",
  Decision: "import type { Decision } from 'seawall'",
  VmEvent: "import type { VmEvent } from 'seawall'",
  url: 'declare const url: string',
  line: 'declare const line: string',
}

const OPTIONS: ts.CompilerOptions = {
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  target: ts.ScriptTarget.ES2022,
  lib: ['lib.es2022.d.ts', 'lib.esnext.disposable.d.ts'],
  types: ['node'],
  strict: true,
  exactOptionalPropertyTypes: true,
  skipLibCheck: true,
  noEmitOnError: false,
  rootDir: folder,
  outDir: join(folder, 'js'),
}

function names(directory: string, extension: string): string[] {
  return readdirSync(join(root, directory)).filter((name) => name.endsWith(extension))
}

/** A block as a module of its own. */
function toModule(block: CodeBlock): string {
  if (isProgram(block)) return block.code
  const given = Object.entries(GIVEN)
    .filter(([name]) => new RegExp(`\\b${name}\\b`).test(block.code))
    .filter(([name]) => !new RegExp(`\\b(const|let) ${name}\\b`).test(block.code))
  return `${block.code}\n${given.map(([, line]) => line).join('\n')}\nexport {}\n`
}

/** What the compiler has to say of some blocks, by the path of each. */
function compile(paths: readonly string[], options: ts.CompilerOptions): Map<string, string[]> {
  const program = ts.createProgram(paths, { ...OPTIONS, ...options })
  const said = new Map<string, string[]>(paths.map((path) => [path, []]))
  program.emit()
  for (const { file, messageText } of ts.getPreEmitDiagnostics(program)) {
    const of = said.get(file?.fileName ?? '') ?? said.get(paths[0] ?? '')
    of?.push(ts.flattenDiagnosticMessageText(messageText, '\n'))
  }
  return said
}

let complaints = new Map<string, string[]>()

test.before('the blocks are compiled', () => {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  for (const block of blocks) writeFileSync(block.path, toModule(block))
  const paths = (language: string) =>
    blocks.filter((block) => block.language === language).map(({ path }) => path)
  complaints = new Map([
    ...compile(paths('ts'), {}),
    // A program for everybody has no types of its own; the arguments of its functions may be anything.
    ...compile(paths('js'), { allowJs: true, checkJs: true, noImplicitAny: false }),
  ])
})

test('there are blocks to test', (t) => {
  t.true(blocks.filter(isProgram).filter((block) => block.prints !== undefined).length >= 10)
})

for (const block of blocks) {
  test(`${block.name} compiles`, (t) => t.deepEqual(complaints.get(block.path), []))
}

for (const block of blocks.filter((found) => isProgram(found) && !needsMore(found))) {
  test(`${block.name} runs${block.prints === undefined ? '' : ', and prints what its page says'}`, async (t) => {
    const program = join(folder, 'js', block.path.slice(folder.length + 1).replace('.mts', '.mjs'))
    const { stdout, stderr } = await run(process.execPath, [program], { timeout: 60_000, cwd: root })
    t.notRegex(stderr, /Error|Warning/)
    if (block.prints !== undefined) t.is(stdout, block.prints)
  })
}

const transcripts = pages.flatMap((page) => transcriptsOfPage(join(root, page), page))

test('there are commands to test', (t) => {
  t.true(transcripts.length >= 2)
})

for (const { name, args, prints } of transcripts) {
  test(`${name} prints what its page says`, async (t) => {
    const tool = [join(root, 'dist', 'cli', 'seawall.js'), ...args]
    // What it says and what is wrong come on two streams; a command has one of them.
    const { stdout, stderr } = await run(process.execPath, tool).catch((error) => error)
    const lines = prints
      .trimEnd()
      .split('\n')
      .map((line) => (line.trim() === '…' ? '[^]*' : literally(line)))
    t.regex(`${stdout}${stderr}`, new RegExp(`^${lines.join('\n')}\n`))
  })
}

function literally(text: string): string {
  return text.replace(/[$()*+.?[\\\]^{|}]/g, '\\$&')
}
