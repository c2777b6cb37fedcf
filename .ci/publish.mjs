// Publishes the packages of a folder of tarballs, the root package last: its version is of use once the platforms' are there.
// Usage: node .ci/publish.mjs <folder> [--dry-run] [npm's options]. Says who it is by OIDC (trusted publishing), with provenance.
// What is published already is left alone, so that a release that was cut off can be run again.
import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'

const [folder = 'tarballs', ...options] = process.argv.slice(2)
// Only where somebody can attest it.
const provenance = process.env.ACTIONS_ID_TOKEN_REQUEST_URL === undefined ? [] : ['--provenance']

const npm = execFileSync('npm', ['--version'], { encoding: 'utf8' }).trim()
const [major, minor, patch] = npm.split('.').map(Number)
if (major < 11 || (major === 11 && (minor < 5 || (minor === 5 && patch < 1))))
  throw new Error(`Expected npm >= 11.5.1, which can publish without a token, but received ${npm}`)

const packages = readdirSync(resolve(folder))
  .filter((name) => name.endsWith('.tgz'))
  .map((name) => ({ path: join(resolve(folder), name), ...nameAndVersion(name) }))
  .sort((left, right) => Number(left.name === 'seawall') - Number(right.name === 'seawall'))
if (packages.at(-1)?.name !== 'seawall' || packages.length < 2)
  throw new Error(
    `Expected the packages in ${folder} but found ${packages.map(({ name }) => name).join(', ') || 'none'}`,
  )

for (const { path, name, version } of packages) {
  if (isPublished(name, version)) {
    console.log(`${name}@${version} is published already`)
    continue
  }
  execFileSync('npm', ['publish', path, '--access', 'public', ...provenance, ...options], {
    stdio: 'inherit',
  })
}

function nameAndVersion(file) {
  const [, name, version] = /^(seawall.*?)-(\d+\.\d+\.\d+.*)\.tgz$/.exec(file) ?? []
  if (name === undefined) throw new Error(`Expected the name of a package's tarball but received ${file}`)
  return { name, version }
}

function isPublished(name, version) {
  const { status, stdout, stderr } = spawnSync(
    'npm',
    ['view', `${name}@${version}`, 'version', ...registry()],
    { encoding: 'utf8' },
  )
  if (status !== 0 && !stderr.includes('E404')) throw new Error(`npm view ${name} failed: ${stderr}`)
  return stdout.trim() !== ''
}

function registry() {
  return options.filter((option) => option.startsWith('--registry='))
}
