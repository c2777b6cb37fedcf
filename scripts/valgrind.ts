// What reads and writes memory by hand, under valgrind: the decoding of syndromes, the run page, the copies of guest memory.
import { execFileSync } from 'node:child_process'
import { installCommand, installPackages } from './debian-packages.ts'
import { step } from './step.ts'
import type { Tally } from './tally.ts'

const PACKAGES = ['valgrind']
const PROGRAM = ['valgrind', '--quiet', '--error-exitcode=9', '--trace-children=no']

/** Left out: these need the handler of SIGBUS to go on behind the access that raised it, and valgrind ends the process there. */
const LEFT_OUT = 'raises_sigbus'

const RUNS: readonly (readonly string[])[] = [
  ['--package', 'seawall-arm64', '--lib', '--tests'],
  [
    ...['--package', 'seawall-kvm', '--lib', '--', '--test-threads=1', '--skip', LEFT_OUT],
    ...['run_page', 'guarded_copy', 'guest_memory', 'slot_table'],
  ],
]

/** Runs them under valgrind, which may be installed where it can be; a skip where there is none, and for what it cannot follow. */
export async function testUnderValgrind(tally: Tally, mayInstall: boolean): Promise<void> {
  if (!hasValgrind() && mayInstall) await installPackages(PACKAGES)
  if (!hasValgrind()) {
    tally.skipped.push(`the tests under valgrind: there is none (${installCommand(PACKAGES).join(' ')})`)
    return
  }
  const failedBefore = tally.failed
  const runner = `CARGO_TARGET_${hostTriple().toUpperCase().replaceAll('-', '_')}_RUNNER`
  const env = { [runner]: PROGRAM.join(' '), PROPTEST_CASES: '16' }
  const onLine = (line: string) => tally.cargo(line)
  for (const run of RUNS) {
    const exitCode = await step('cargo', ['test', '--locked', ...run], { env, allowFailure: true, onLine })
    tally.runner('the tests under valgrind', exitCode, failedBefore)
  }
  tally.skipped.push('two copies that meet SIGBUS, under valgrind: it does not go on behind the access')
}

function hasValgrind(): boolean {
  try {
    execFileSync('valgrind', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

function hostTriple(): string {
  const version = execFileSync('rustc', ['-vV'], { encoding: 'utf8' })
  const triple = /^host: (.+)$/m.exec(version)?.[1]
  if (triple === undefined) throw new Error(`Expected a host in rustc -vV but received ${version}`)
  return triple
}
