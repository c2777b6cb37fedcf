// `npm run release-version -- set`: makes the next version of the changesets, wherever a version stands, and its changelog.
// `npm run release-version -- check v0.2.0`: what stands against releasing this tree under that tag.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { main, packageStep, projectRoot, projectVersion, StepError, step } from '../step.ts'
import { dated } from './changelog.ts'
import { complaints } from './check.ts'
import { withVersion } from './pages.ts'

const read = (name: string) => readFileSync(join(projectRoot, name), 'utf8')
const write = (name: string, text: string) => writeFileSync(join(projectRoot, name), text)
const changesets = () => readdirSync(join(projectRoot, '.changeset')).filter((name) => name.endsWith('.md'))
const pages = () => [
  'README.md',
  ...readdirSync(join(projectRoot, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
]

function check(tag: string): void {
  const found = complaints(
    {
      manifest: read('package.json'),
      lock: read('package-lock.json'),
      cargo: read('Cargo.toml'),
      cargoLock: read('Cargo.lock'),
      changelog: read('CHANGELOG.md'),
      changesets: changesets(),
      pages: Object.fromEntries(pages().map((name) => [name, read(name)])),
    },
    tag,
  )
  if (found.length > 0) throw new StepError(`${tag} must not be released:\n  ${found.join('\n  ')}`)
  process.stdout.write(`${tag}: the versions agree, and the changelog has it\n`)
}

async function version(): Promise<void> {
  if (changesets().length === 0)
    throw new StepError('Expected a changeset in .changeset but found none: `npx changeset` writes one')
  await packageStep('@changesets/cli/bin.js', ['version'])
  const next = projectVersion()
  // It does not know package-lock.json, nor the crates, nor what the pages say.
  await step('npm', ['version', next, '--allow-same-version', '--no-git-tag-version', '--ignore-scripts'])
  const cargo = read('Cargo.toml').replace(
    /^(\[workspace\.package\][^[]*?^version = )"[^"]+"/ms,
    `$1"${next}"`,
  )
  write('Cargo.toml', cargo)
  write('CHANGELOG.md', dated(read('CHANGELOG.md'), next, new Date().toISOString().slice(0, 10)))
  for (const name of pages()) write(name, withVersion(read(name), next))
  // Cargo.lock names the crates of the workspace too.
  await step('cargo', ['update', '--workspace', '--offline'])
  process.stdout.write(`Look at git diff, then commit it and tag it v${next}\n`)
}

await main(async () => {
  const [word, value = '', ...rest] = process.argv.slice(2)
  if (word === 'check' && value !== '' && rest.length === 0) check(value)
  else if (word === 'set' && value === '') await version()
  else throw new StepError('Expected `set` or `check <tag>`')
})
