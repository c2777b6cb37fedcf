// Installs the packages of a folder of tarballs as a stranger does, and runs the example of the README that they bring.
// Usage: node .ci/try.mjs <folder>. Plain JavaScript without dependencies: it runs where nothing but Node and npm is.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const folder = resolve(process.argv[2] ?? 'tarballs')
process.report.excludeNetwork = true
const isGlibc = process.report.getReport().header.glibcVersionRuntime !== undefined
const libc = process.platform === 'linux' ? [isGlibc ? 'gnu' : 'musl'] : []
const platform = [process.platform, process.arch, ...libc].join('-')

function tarball(pattern) {
  const found = readdirSync(folder).filter((name) => pattern.test(name))
  if (found.length !== 1)
    throw new Error(`Expected one ${pattern} in ${folder} but found ${found.join(', ') || 'none'}`)
  return join(folder, found[0])
}

const stranger = mkdtempSync(join(tmpdir(), 'seawall-try-'))
try {
  const run = (program, ...args) =>
    execFileSync(program, args, { cwd: stranger, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
  writeFileSync(join(stranger, 'package.json'), '{ "private": true }\n')
  const packages = [tarball(/^seawall-\d.*\.tgz$/), tarball(new RegExp(`^seawall-${platform}-\\d.*\\.tgz$`))]
  run('npm', 'install', '--no-audit', '--no-fund', ...packages)
  const readme = readFileSync(join(stranger, 'node_modules', 'seawall', 'README.md'), 'utf8')
  const example = /^## Example$.*?^```[jt]s\n(.*?)^```$.*?^It prints:\n\n```text\n(.*?)^```$/ms.exec(readme)
  if (example === null) throw new Error('Expected an example in the README but found none')
  writeFileSync(join(stranger, 'example.mjs'), example[1])
  const printed = run(process.execPath, 'example.mjs')
  if (printed !== example[2])
    throw new Error(`Expected the example to print\n${example[2]}but it printed\n${printed}`)
  console.log(`Node ${process.version}, ${platform}: the example prints what the README says`)
} finally {
  rmSync(stranger, { recursive: true })
}
