import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { type CargoWorkspace, RUST_TARGET } from './cargo.ts'
import { LabError } from './errors.ts'
import type { LabFile } from './project-archive.ts'
import type { ToolRoot } from './tool-root.ts'

/** An integration test of the Rust workspace, `tests/<test>` of one of its crates. */
export interface RustTest {
  readonly package: string
  readonly test: string
}

/** Builds one integration test for arm64, and returns its program as a file for the lab. */
export async function makeRustTest(
  root: ToolRoot,
  workspace: CargoWorkspace,
  test: RustTest,
): Promise<LabFile> {
  const inputs = { sources: workspace.fingerprint(), root: root.key, ...test, format: 1 }
  const folder = await root.cache.artefact(`rust-test-${test.test}`, inputs, async (into) => {
    const build = ['test', '--no-run', '--locked', '--package', test.package, '--test', test.test]
    const target = ['--target', RUST_TARGET]
    // Once for people, who read cargo's own errors; then there is nothing left to build, and cargo says where it is.
    await workspace.run([...build, ...target], { loud: true })
    const messages = await workspace.run([...build, ...target, '--message-format=json'])
    cpSync(root.host(executable(messages, test)), join(into, test.test))
  })
  return { path: join('rust-tests', test.test), content: { from: join(folder, test.test) } }
}

/** The program that cargo says it made, as a path inside the root. */
function executable(messages: string, { test }: RustTest): string {
  for (const line of messages.split('\n')) {
    if (!line.startsWith('{')) continue
    const message = JSON.parse(line) as { executable?: string | null; target?: { name?: string } }
    if (message.target?.name === test && typeof message.executable === 'string') return message.executable
  }
  throw new LabError('invalid-option', `Expected an integration test of the workspace but received ${test}`)
}
