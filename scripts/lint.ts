// `npm run lint`: every rule that a machine checks, for this machine and for arm64.
import { cargoInToolRoot } from '../lab/lab.ts'
import { runCheckers } from './checkers/checkers.ts'
import { makeSite } from './docs/site.ts'
import { checkLockFiles } from './lock-files.ts'
import { main, packageStep, step } from './step.ts'

await main(async () => {
  checkLockFiles()
  await packageStep('@biomejs/biome/bin/biome', [
    'ci',
    ...(process.stdout.isTTY ? [] : ['--colors=off']),
    '.',
  ])
  await runCheckers()
  await step('cargo', ['fmt', '--all', '--check'])
  await step('cargo', ['clippy', '--workspace', '--all-targets', '--locked', '--', '-D', 'warnings'])
  await step('cargo', ['doc', '--workspace', '--no-deps', '--locked'], {
    env: { RUSTDOCFLAGS: '-D warnings' },
  })
  await makeSite()
  if (process.env['SEAWALL_LAB'] === 'off')
    process.stdout.write('skipped: the arm64 check: SEAWALL_LAB is off\n')
  else
    await cargoInToolRoot([
      'clippy',
      '--workspace',
      '--all-targets',
      '--target',
      'aarch64-unknown-linux-gnu',
      '--',
      '-D',
      'warnings',
    ])
})
