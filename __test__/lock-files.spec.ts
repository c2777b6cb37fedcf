import { readFileSync } from 'node:fs'
import test from 'ava'
import { cargoFaults, manifestFaults, npmFaults } from '../scripts/lock-files.ts'

const OWN = ['seawall-arm64', 'seawall-kvm', 'seawall-vmm', 'seawall-napi']
const npm = JSON.parse(readFileSync('package-lock.json', 'utf8'))
const cargo = readFileSync('Cargo.lock', 'utf8')
const OTHER = 'node_modules/@biomejs/cli-darwin-arm64'

/** The lock file with one package changed. */
function changed(path: string, change: object | undefined): string {
  const { [path]: entry, ...packages } = npm.packages
  return JSON.stringify({
    ...npm,
    packages: change === undefined ? packages : { ...packages, [path]: { ...entry, ...change } },
  })
}

test('the lock files say what is installed, on every platform', (t) => {
  t.deepEqual(npmFaults(JSON.stringify(npm)), [])
  t.deepEqual(cargoFaults(cargo, OWN), [])
  t.deepEqual(manifestFaults(readFileSync('package.json', 'utf8')), [])
  t.true(Object.keys(npm.packages).length > 200)
})

test('a package without a hash, from a host of its own, or with an install script is found', (t) => {
  for (const [change, fault] of [
    [{ integrity: undefined }, `Expected a sha512 integrity for ${OTHER} but received none`],
    [{ integrity: 'sha1-abc' }, `Expected a sha512 integrity for ${OTHER} but received sha1-abc`],
    [{ resolved: 'https://host/x.tgz' }, `Expected no resolved for ${OTHER} but received https://host/x.tgz`],
    [{ hasInstallScript: true }, `Expected no install script for ${OTHER} but received one`],
  ] as const) {
    t.deepEqual(npmFaults(changed(OTHER, change)), [fault])
  }
})

test('a package of another platform that is left out is found', (t) => {
  const faults = npmFaults(changed(OTHER, undefined))
  t.deepEqual(faults, [
    'Expected @biomejs/cli-darwin-arm64 for node_modules/@biomejs/biome but it is not in the lock file',
  ])
})

test('a crate from elsewhere, or without a checksum, is found', (t) => {
  const [checksum = ''] = /^checksum = ".*"$/m.exec(cargo) ?? []
  t.regex(
    cargoFaults(cargo.replace(checksum, ''), OWN).join(),
    /^Expected a checksum for \S+ \S+ but received none$/,
  )
  const elsewhere = cargo.replace(/^source = "registry\+.*"$/m, 'source = "git+https://host/x"')
  t.regex(
    cargoFaults(elsewhere, OWN).join(),
    /^Expected crates.io for \S+ \S+ but received git\+https:\/\/host\/x$/,
  )
  t.is(cargoFaults(cargo, OWN.slice(1)).length, 2, 'a path that is not the workspace')
})

test('a manifest that runs something at installation, or needs something at run time, is found', (t) => {
  t.deepEqual(manifestFaults('{"scripts": {"postinstall": "x"}, "dependencies": {"y": "1"}}'), [
    'Expected no postinstall for scripts but received one',
    'Expected no dependencies but received y',
  ])
})
