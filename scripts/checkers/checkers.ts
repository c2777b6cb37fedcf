import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Cache } from '../../lab/cache.ts'
import { run } from '../../lab/command.ts'
import { projectRoot, step } from '../step.ts'

const HERE = join(projectRoot, 'scripts', 'checkers')
const ACTIONLINT = 'github.com/rhysd/actionlint/cmd/actionlint'

/** A program that checks something, from elsewhere, or why it cannot be had here. */
type Checker = { readonly path: string } | { readonly missing: string }

/**
 * Checks spelling, scripts and workflows by programs that npm and cargo do not bring: typos, zizmor and shellcheck by pip,
 * actionlint by Go, each pinned by hash and kept in the cache. One that cannot be had is skipped, which is said.
 */
export async function runCheckers(): Promise<void> {
  const cache = new Cache()
  const wheels = await fetched('Python with pip', () => fetchWheels(cache))
  await check('typos', inFolder(wheels, 'bin/typos'), ['--format', 'brief'])
  // Without the network: what a pinned action is elsewhere is not looked at.
  await check('zizmor', inFolder(wheels, 'bin/zizmor'), [
    '--offline',
    '--persona=pedantic',
    '--quiet',
    '.github',
  ])
  const shellcheck = inFolder(wheels, 'bin/shellcheck')
  await check('shellcheck', shellcheck, ['.ci/run', 'lab/init/init.sh'])
  const actionlint = inFolder(await fetched('Go 1.25 or newer', () => buildActionlint(cache)), 'actionlint')
  // With no name of a program it looks at no script.
  await check('actionlint', actionlint, ['-shellcheck', 'path' in shellcheck ? shellcheck.path : ''])
}

async function check(name: string, checker: Checker, args: readonly string[]): Promise<void> {
  if ('missing' in checker) process.stdout.write(`skipped: ${name}: ${checker.missing}\n`)
  else await step(checker.path, args)
}

function inFolder(folder: Checker, name: string): Checker {
  if ('missing' in folder) return folder
  const path = join(folder.path, name)
  return existsSync(path) ? { path } : { missing: `there is none for ${process.platform} on ${process.arch}` }
}

async function fetched(needs: string, fetch: () => Promise<string>): Promise<Checker> {
  try {
    return { path: await fetch() }
  } catch (error) {
    const [first = ''] = (error instanceof Error ? error.message : String(error)).trim().split('\n')
    return { missing: `it needs ${needs}, and the network once. ${first}` }
  }
}

async function fetchWheels(cache: Cache): Promise<string> {
  const requirements = join(HERE, 'requirements.txt')
  const inputs = {
    requirements: read(requirements),
    platform: process.platform,
    machine: process.arch,
    format: 1,
  }
  return await cache.artefact('checkers', inputs, async (into) => {
    await run('python3', [
      ...['-m', 'pip', 'install', '--require-hashes', '--only-binary=:all:', '--no-deps', '--no-compile'],
      ...[
        '--no-input',
        '--quiet',
        '--root-user-action=ignore',
        '--requirement',
        requirements,
        '--target',
        into,
      ],
    ])
  })
}

async function buildActionlint(cache: Cache): Promise<string> {
  const inputs = {
    modules: read(join(HERE, 'go.mod')) + read(join(HERE, 'go.sum')),
    platform: process.platform,
    machine: process.arch,
    format: 1,
  }
  return await cache.artefact('actionlint', inputs, async (into) => {
    // The Go that is there, and no newer one that it would fetch.
    const env = { ...process.env, GOTOOLCHAIN: 'local', GOFLAGS: '-mod=readonly' }
    await run('go', ['build', '-o', join(into, 'actionlint'), ACTIONLINT], { cwd: HERE, env })
  })
}

function read(path: string): string {
  return readFileSync(path, 'utf8')
}
