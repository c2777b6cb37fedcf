// Starts a TypeScript entry point from a fresh clone: checks Node, installs the locked dependencies, compiles, imports.
// Usage: node scripts/start.mjs <module without extension> [arguments]
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const [module, ...args] = process.argv.slice(2)

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(
    `Expected Node >= 20.19 for Seawall but received ${process.version}. Install a newer Node and try again.`,
  )
  process.exit(1)
}

function run(command, commandArgs) {
  const { status, error } = spawnSync(command, commandArgs, { cwd: root, stdio: ['ignore', 2, 2] })
  if (error !== undefined || status !== 0) {
    console.error(
      `${command} ${commandArgs.join(' ')} failed${error ? `: ${error.message}` : ` with exit code ${status}`}`,
    )
    process.exit(1)
  }
}

const lock = createHash('sha256')
  .update(readFileSync(join(root, 'package-lock.json')))
  .digest('hex')
const stamp = join(root, 'node_modules', '.seawall-lock')
if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== lock) {
  console.error('seawall: installing the locked npm dependencies')
  // Not `npm ci`: it refuses a lock file that does not name the optional packages of every other platform, and a registry
  // mirror may not hold them. This honours the lock file, checks its hashes, and does not write it.
  run('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error'])
  mkdirSync(dirname(stamp), { recursive: true })
  writeFileSync(stamp, lock)
}
run(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-b'])

process.argv = [process.execPath, join(root, 'build', `${module}.js`), ...args]
await import(pathToFileURL(process.argv[1]).href)
