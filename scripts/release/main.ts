// `npm run release-version -- set 0.2.0`: writes the version wherever it stands, and the changelog's section.
// `npm run release-version -- check v0.2.0`: what stands against releasing this tree under that tag.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { main, projectRoot, StepError, step } from '../step.ts'
import { releaseNotes } from './changelog.ts'
import { complaints } from './check.ts'

const read = (name: string) => readFileSync(join(projectRoot, name), 'utf8')
const write = (name: string, text: string) => writeFileSync(join(projectRoot, name), text)

function check(tag: string): void {
  const found = complaints(
    {
      manifest: read('package.json'),
      lock: read('package-lock.json'),
      cargo: read('Cargo.toml'),
      changelog: read('CHANGELOG.md'),
    },
    tag,
  )
  if (found.length > 0) throw new StepError(`${tag} must not be released:\n  ${found.join('\n  ')}`)
  process.stdout.write(`${tag}: the versions agree, and the changelog has it\n`)
}

async function version(next: string): Promise<void> {
  const changelog = releaseNotes(read('CHANGELOG.md'), next, new Date().toISOString().slice(0, 10))
  const cargo = read('Cargo.toml').replace(
    /^(\[workspace\.package\][^[]*?^version = )"[^"]+"/ms,
    `$1"${next}"`,
  )
  await step('npm', ['version', next, '--no-git-tag-version', '--ignore-scripts'])
  write('Cargo.toml', cargo)
  write('CHANGELOG.md', changelog)
  // Cargo.lock names the crates of the workspace too.
  await step('cargo', ['update', '--workspace', '--offline'])
  process.stdout.write(`Look at git diff, then commit it and tag it v${next}\n`)
}

await main(async () => {
  const [word, value = '', ...rest] = process.argv.slice(2)
  if (word === 'check' && value !== '' && rest.length === 0) check(value)
  else if (word === 'set' && value !== '' && rest.length === 0) await version(value)
  else throw new StepError('Expected `check <tag>` or `set <version>`')
})
