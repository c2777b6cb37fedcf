// `npm test`: cargo tests, the models of what threads share, the specs that run anywhere, docs/ in a browser, the packages as
// they are published, and in the lab the KVM specs and the Rust tests that need KVM. Ends with one line, the sum of all.
// SEAWALL_LAB=off leaves out what needs the lab's tools, and counts it as skipped. SEAWALL_SEED repeats random cases,
// SEAWALL_CASES says how many there are; LOOM_MAX_PREEMPTIONS makes the models go deeper than 3.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import {
  buildProgram,
  buildRustTest,
  type Lab,
  type LabCommand,
  type LabFile,
  type RustTest,
  runInLab,
  setUpLab,
} from '../lab/lab.ts'
import { buildAddon } from './addon.ts'
import { findBrowser, provideBrowser } from './browser.ts'
import { testSite } from './docs/test.ts'
import { packPackages } from './package/pack.ts'
import { lineReader, main, packageStep, projectRoot, StepError, step } from './step.ts'
import { Tally } from './tally.ts'
import { testUnderValgrind } from './valgrind.ts'

const AVA = 'ava/entrypoints/cli.mjs'
/** For one boot of the lab with its specs, some of which boot Linux guests that emulation makes slow. */
const LAB_LIMIT_MS = 45 * 60_000

/** The Rust tests that need KVM, each by the name that its `SKIPPED` lines have where there is none. */
const RUST_TESTS: readonly RustTest[] = [
  { package: 'seawall-vmm', test: 'differential' },
  { package: 'seawall-kvm', test: 'vcpu_events' },
  { package: 'seawall-kvm', test: 'gic_reset' },
]

interface Host extends Pick<LabCommand, 'cpu' | 'kernel' | 'qemu'> {
  readonly name: string
  /** Which of the specs run there. */
  readonly specs: (name: string) => boolean
  /** Whether the Rust tests run there. */
  readonly rust: boolean
  /** How lost pages are taken away there, where userfaultfd is denied. */
  readonly quarantine?: 'memslot-hole'
}

/** The specs for a processor that has SCTLR2_EL1. */
const isEaseSpec = (name: string): boolean => name.startsWith('ease.')
/** The specs for a kernel without the capability: what Seawall does there with less. */
const isOlderKernelSpec = (name: string): boolean => name.startsWith('older-kernel.')
const onlyHostSpecs = (name: string): boolean => /^(doctor|host)\./.test(name)
const onlyQuarantineSpecs = (name: string): boolean =>
  /^(behaviours|device-access|faults|lost-pages|mappings|quarantine|sigbus|sigbus-ao)\./.test(name)

/** The hosts that the lab can be, and what runs on each. */
const HOSTS: readonly Host[] = [
  { name: 'active', specs: (name) => !isEaseSpec(name) && !isOlderKernelSpec(name), rust: true },
  { name: 'without userfaultfd', specs: onlyQuarantineSpecs, rust: false, quarantine: 'memslot-hole' },
  // It has SCTLR2_EL1. Without 52-bit addresses, because QEMU needs seconds for the end of every VM that has them.
  { name: 'newest', cpu: 'max,lpa2=off', qemu: 'backports', specs: isEaseSpec, rust: true },
  { name: 'inert', cpu: 'cortex-a72', specs: onlyHostSpecs, rust: false },
  {
    name: 'unsupported',
    kernel: '6.12',
    specs: (name) => onlyHostSpecs(name) || isOlderKernelSpec(name),
    rust: false,
  },
]

/** Runs each argument as a command, all of them, and ends as the last that failed. */
const EACH = 'status=0; for command; do $command || status=$?; done; exit $status'

function specs(folder: string): string[] {
  const names = readdirSync(join(projectRoot, 'build', '__test__', folder)).filter((name) =>
    name.endsWith('.spec.js'),
  )
  return names.map((name) => join('build', '__test__', folder, name))
}

async function testCargo(tally: Tally, lab: Lab | undefined): Promise<void> {
  const failedBefore = tally.failed
  const args = ['test', '--workspace', '--locked', '--no-fail-fast', '--', '--show-output']
  const env =
    lab === undefined
      ? {}
      : { SEAWALL_KERNEL_HEADERS: lab.kernelHeaders, SEAWALL_IASL: await lab.acpiCompiler() }
  const onLine = (line: string) => {
    if (lab === undefined || !isSkippedHere(line)) tally.cargo(line)
  }
  tally.runner('cargo test', await step('cargo', args, { env, allowFailure: true, onLine }), failedBefore)
}

/**
 * Tries every order of the steps of what threads share, with up to so many preemptions. In a folder of its own: another flag
 * makes another build of everything.
 */
async function testModels(tally: Tally): Promise<void> {
  const failedBefore = tally.failed
  const args = ['test', '--package', 'seawall-vmm', '--lib', '--locked', 'models']
  const env = {
    RUSTFLAGS: `${process.env['RUSTFLAGS'] ?? ''} --cfg loom`.trim(),
    CARGO_TARGET_DIR: join(projectRoot, 'target', 'loom'),
    LOOM_MAX_PREEMPTIONS: process.env['LOOM_MAX_PREEMPTIONS'] ?? '3',
  }
  const onLine = (line: string) => tally.cargo(line)
  tally.runner('the models', await step('cargo', args, { env, allowFailure: true, onLine }), failedBefore)
}

/** Whether a line of `cargo test` is about a test that the lab runs. */
function isSkippedHere(line: string): boolean {
  return RUST_TESTS.some(({ test }) => line.startsWith(`SKIPPED ${test}: `))
}

async function testHere(tally: Tally, lab: Lab | undefined, browser: string | null): Promise<void> {
  await buildAddon('dev')
  const failedBefore = tally.failed
  const onLine = (line: string) => tally.tap(line)
  const env = {
    ...(lab === undefined ? {} : { SEAWALL_DTC: await lab.deviceTreeCompiler() }),
    ...(browser === null ? {} : { SEAWALL_BROWSER: browser }),
  }
  const exitCode = await packageStep(AVA, ['--tap', ...specs('.')], { env, allowFailure: true, onLine })
  tally.runner('the specs', exitCode, failedBefore)
}

/** Makes the packages as they are published, and tests them as somebody has them who installs them. */
async function testPackages(tally: Tally): Promise<void> {
  tally.skipped.push(...(await packPackages()))
  const failedBefore = tally.failed
  const onLine = (line: string) => tally.tap(line)
  const exitCode = await packageStep(AVA, ['--tap', ...specs('packages')], { allowFailure: true, onLine })
  tally.runner('the specs of the packages', exitCode, failedBefore)
}

async function testInLab(lab: Lab, tally: Tally): Promise<void> {
  const programs: LabFile[] = []
  const references: LabFile[] = []
  await part(tally, 'the programs for the lab', async () => {
    for (const test of RUST_TESTS) programs.push(await buildRustTest(lab, test))
    references.push(await buildProgram(lab, 'bench/reference/kvm-loop.c'))
  })
  for (const { name, specs: wanted, rust, quarantine, ...machine } of HOSTS) {
    const files = specs('kvm').filter((path) => wanted(path.slice(path.lastIndexOf('/') + 1)))
    // One file at a time: one of them takes /dev/kvm away.
    const runner = quarantine === undefined ? ['node'] : ['without-userfaultfd', 'node']
    const ava = [...runner, `node_modules/${AVA}`, '--tap', '--concurrency', '1', ...files].join(' ')
    const commands = [
      ...(rust ? programs.map(({ path }) => `${path} --show-output`) : []),
      ...(files.length > 0 ? [ava] : []),
    ]
    const lines = lineReader((line) => {
      tally.cargo(line)
      tally.tap(line)
    })
    process.stderr.write(`\nlab, a host that is ${name}: ${commands.join('; ')}\n`)
    await part(tally, `the lab (${name})`, async () => {
      const failedBefore = tally.failed
      const { exitCode } = await runInLab(lab, {
        command: ['sh', '-c', EACH, 'sh', ...commands],
        env: {
          SEAWALL_HOST: name,
          ...(quarantine === undefined ? {} : { SEAWALL_QUARANTINE: quarantine }),
          ...given('SEAWALL_SEED'),
          ...given('SEAWALL_CASES'),
          ...given('SEAWALL_ECHO_BYTES'),
        },
        files: rust ? [...programs, ...references] : [],
        timeoutMs: LAB_LIMIT_MS,
        onOutput: (chunk) => {
          process.stdout.write(chunk)
          lines.push(chunk)
        },
        ...machine,
      })
      lines.end()
      tally.runner(`the tests in the lab (${name})`, exitCode, failedBefore)
    })
  }
}

function given(name: string): Record<string, string> {
  const value = process.env[name]
  return value === undefined ? {} : { [name]: value }
}

/** Runs a part; one that cannot be run is a failed test, and the others still run. */
async function part(tally: Tally, name: string, run: () => Promise<void>): Promise<void> {
  try {
    await run()
  } catch (error) {
    tally.fail(`${name}: ${error instanceof Error ? error.message : String(error)}`)
  }
}

await main(async () => {
  const tally = new Tally()
  let lab: Lab | undefined
  if (process.env['SEAWALL_LAB'] === 'off')
    tally.skipped.push('the specs in __test__/kvm and __test__/packages: SEAWALL_LAB is off')
  else {
    await part(tally, 'the lab', async () => {
      lab = await setUpLab()
    })
  }
  const browser = lab === undefined ? findBrowser() : await provideBrowser()
  await part(tally, 'cargo test', () => testCargo(tally, lab))
  await part(tally, 'the tests under valgrind', () => testUnderValgrind(tally, lab !== undefined))
  await part(tally, 'the models', () => testModels(tally))
  await part(tally, 'the specs', () => testHere(tally, lab, browser))
  await part(tally, 'the pages of docs/', () => testSite(tally, browser))
  if (lab !== undefined) {
    await part(tally, 'the packages', () => testPackages(tally))
    await testInLab(lab, tally)
  }

  for (const name of tally.failures) process.stdout.write(`failed: ${name}\n`)
  for (const reason of tally.skipped) process.stdout.write(`skipped: ${reason}\n`)
  process.stdout.write(`${tally.summary()}\n`)
  if (tally.failed > 0) throw new StepError('some tests failed')
})
