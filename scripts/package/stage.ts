import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageStep, projectRoot } from '../step.ts'
import { addonFile, type Platform } from './platforms.ts'

/** An addon that may be released. */
export interface Addon {
  readonly platform: Platform
  readonly path: string
}

/**
 * What Node a platform package says it needs: the oldest with the Node-API that the addon uses, and not what the project
 * supports. npm leaves an optional package out without a word where its `engines` do not fit.
 */
const ADDON_ENGINES = { node: '>=20' }
const LICENCES = ['LICENSE', 'LICENSE-APACHE', 'LICENSE-MIT']
/** What of package.json is of use in a clone alone. */
const CLONE_ONLY = ['scripts', 'ava', 'devDependencies', 'overrides']

type Manifest = Record<string, unknown> & { napi: { targets: string[] }; files: string[] }

/**
 * Lays the packages out in an empty folder as they are published, and returns their folders, that of the root package
 * last: it is of use once the others are there. The root package names the platforms of the `addons` and no others.
 */
export async function stagePackages(
  into: string,
  addons: readonly Addon[],
  loader: string,
): Promise<string[]> {
  const own = readManifest(projectRoot)
  for (const name of ['README.md', 'LICENSE', ...own.files.filter((name) => !name.startsWith('!'))]) {
    if (name !== 'native/index.cjs') cpSync(join(projectRoot, name), join(into, name), { recursive: true })
  }
  mkdirSync(join(into, 'native'))
  cpSync(loader, join(into, 'native', 'index.cjs'))
  mkdirSync(join(into, 'artifacts'))
  for (const { platform, path } of addons) cpSync(path, join(into, 'artifacts', addonFile(platform.name)))

  for (const key of CLONE_ONLY) delete own[key]
  own.napi.targets = addons.map(({ platform }) => platform.triple)
  writeManifest(into, own)
  await napi('create-npm-dirs', into)
  await napi('artifacts', into)
  await napi('prepublish', into, '--tag-style', 'npm', '--no-gh-release', '--skip-optional-publish')
  const { napi: _, ...published } = readManifest(into)
  writeManifest(into, published)

  const folders = addons.map(({ platform }) => join(into, 'npm', platform.name))
  for (const folder of folders) {
    const manifest = readManifest(folder)
    for (const name of LICENCES) cpSync(join(projectRoot, name), join(folder, name))
    writeManifest(folder, {
      ...manifest,
      type: 'commonjs',
      engines: ADDON_ENGINES,
      files: [...manifest.files, 'LICENSE-APACHE', 'LICENSE-MIT'],
    })
  }
  return [...folders, into]
}

async function napi(command: string, cwd: string, ...args: readonly string[]): Promise<void> {
  await packageStep('@napi-rs/cli/dist/cli.js', [command, '--cwd', cwd, ...args])
}

function readManifest(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest
}

function writeManifest(folder: string, manifest: Record<string, unknown>): void {
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
}
