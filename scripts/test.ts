// `npm test`: cargo tests, the specs that run anywhere, and the KVM specs in the lab. Ends with one line, the sum of all.
// SEAWALL_LAB=off leaves the lab out, and counts it as skipped.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Lab, type LabCommand, runInLab, setUpLab } from '../lab/lab.ts'
import { buildAddon } from './addon.ts'
import { lineReader, main, packageStep, projectRoot, StepError, step } from './step.ts'
import { Tally } from './tally.ts'

const AVA = 'ava/entrypoints/cli.mjs'
/** For one boot of the lab with its specs; a boot takes seconds, and emulation is slow. */
const LAB_LIMIT_MS = 10 * 60_000

/** The hosts that the lab can be, and the specs that run on each. */
const HOSTS: (Pick<LabCommand, 'cpu' | 'kernel'> & { name: string; specs: (name: string) => boolean })[] = [
  { name: 'active', specs: () => true },
  { name: 'inert', cpu: 'cortex-a72', specs: (name) => name.startsWith('host.') },
  { name: 'unsupported', kernel: '6.12', specs: (name) => name.startsWith('host.') },
]

function specs(folder: string): string[] {
  const names = readdirSync(join(projectRoot, 'build', '__test__', folder)).filter((name) =>
    name.endsWith('.spec.js'),
  )
  return names.map((name) => join('build', '__test__', folder, name))
}

async function testCargo(tally: Tally, env: Record<string, string>): Promise<void> {
  const failedBefore = tally.failed
  const args = ['test', '--workspace', '--locked', '--no-fail-fast', '--', '--show-output']
  const onLine = (line: string) => tally.cargo(line)
  tally.runner('cargo test', await step('cargo', args, { env, allowFailure: true, onLine }), failedBefore)
}

async function testHere(tally: Tally): Promise<void> {
  await buildAddon('dev')
  const failedBefore = tally.failed
  const onLine = (line: string) => tally.tap(line)
  const exitCode = await packageStep(AVA, ['--tap', ...specs('.')], { allowFailure: true, onLine })
  tally.runner('the specs', exitCode, failedBefore)
}

async function testInLab(lab: Lab, tally: Tally): Promise<void> {
  for (const { name, specs: wanted, ...machine } of HOSTS) {
    const files = specs('kvm').filter((path) => wanted(path.slice(path.lastIndexOf('/') + 1)))
    const lines = lineReader((line) => tally.tap(line))
    process.stderr.write(`\nlab, a host that is ${name}: ${files.join(' ')}\n`)
    await part(tally, `the lab (${name})`, async () => {
      const failedBefore = tally.failed
      const { exitCode } = await runInLab(lab, {
        // One file at a time: one of them takes /dev/kvm away.
        command: ['node', `node_modules/${AVA}`, '--tap', '--concurrency', '1', ...files],
        env: { SEAWALL_HOST: name },
        timeoutMs: LAB_LIMIT_MS,
        onOutput: (chunk) => {
          process.stdout.write(chunk)
          lines.push(chunk)
        },
        ...machine,
      })
      lines.end()
      tally.runner(`the specs in the lab (${name})`, exitCode, failedBefore)
    })
  }
}

/** Runs a part; one that cannot be run is a failed test, and the others still run. */
async function part(tally: Tally, name: string, run: () => Promise<void>): Promise<void> {
  try {
    await run()
  } catch (error) {
    process.stderr.write(`\n${name}: ${error instanceof Error ? error.message : String(error)}\n`)
    tally.failed += 1
  }
}

await main(async () => {
  const tally = new Tally()
  let lab: Lab | undefined
  if (process.env['SEAWALL_LAB'] === 'off')
    tally.skipped.push('the specs in __test__/kvm: SEAWALL_LAB is off')
  else {
    await part(tally, 'the lab', async () => {
      lab = await setUpLab()
    })
  }
  const headers = lab === undefined ? {} : { SEAWALL_KERNEL_HEADERS: lab.kernelHeaders }
  await part(tally, 'cargo test', () => testCargo(tally, headers))
  await part(tally, 'the specs', () => testHere(tally))
  if (lab !== undefined) await testInLab(lab, tally)

  for (const reason of tally.skipped) process.stdout.write(`skipped: ${reason}\n`)
  process.stdout.write(`${tally.summary()}\n`)
  if (tally.failed > 0) throw new StepError('some tests failed')
})
