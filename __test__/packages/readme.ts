import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'
import type { Left } from './stranger.ts'

const text = readFileSync(fileURLToPath(new URL('../../../README.md', import.meta.url)), 'utf8')
const [, code = '', output = ''] =
  /^## Example$.*?^```ts\n(.*?)^```$.*?^It prints:\n\n```text\n(.*?)^```$/ms.exec(text) ?? []

/** The example of README.md, and what it says that it prints. */
export const readme = { code, output }

/** Asserts that a program printed these lines and ended well. A guest's console and the events of its VM have no common order. */
export function assertPrints(
  t: ExecutionContext,
  { exitCode, stdout, stderr }: Left,
  expected: string,
): void {
  const lines = (text: string) => text.split('\n').sort()
  t.deepEqual({ exitCode, lines: lines(stdout), stderr }, { exitCode: 0, lines: lines(expected), stderr: '' })
}
