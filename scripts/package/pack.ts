import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildReleaseAddons, releasePlatforms } from '../../lab/lab.ts'
import { buildAddon } from '../addon.ts'
import { projectRoot, projectVersion, StepError, step } from '../step.ts'
import { readElf } from './elf.ts'
import { complaints, glibcOf, machOComplaints } from './gate.ts'
import { addonFile, PLATFORMS, packageName } from './platforms.ts'
import { type Addon, stagePackages } from './stage.ts'

/** Where the packages are put; git does not see it. */
export const TARBALLS = join(projectRoot, 'tarballs')

/** How to pack. */
export interface PackOptions {
  /** A folder of addons that were built elsewhere, which go before those that are built here. */
  readonly addons?: string
  /** Whether a platform without an addon is an error, as it is in a release. */
  readonly all?: boolean
}

/** Makes the packages as they are published, in {@link TARBALLS}. Returns a line for each platform that has none. */
export async function packPackages({ addons: folder, all = false }: PackOptions = {}): Promise<string[]> {
  const addons = await findAddons(folder)
  const missing = PLATFORMS.filter((platform) => !addons.some((addon) => addon.platform === platform))
  const lines = missing.map((platform) => `${packageName(platform.name)}: not run here, there is no addon`)
  if (all && lines.length > 0)
    throw new StepError(`Expected an addon for each platform:\n${lines.join('\n')}`)
  for (const addon of addons) await pass(addon)

  const stage = mkdtempSync(join(tmpdir(), 'seawall-packages-'))
  try {
    // The loader is the same whichever way the addon beside it was built.
    await buildAddon('dev', join(stage, 'loader'))
    const root = join(stage, 'root')
    mkdirSync(root)
    rmSync(TARBALLS, { recursive: true, force: true })
    mkdirSync(TARBALLS)
    for (const packed of await stagePackages(root, addons, join(stage, 'loader', 'index.cjs')))
      await step('npm', ['pack', packed, '--ignore-scripts', '--silent', '--pack-destination', TARBALLS])
  } finally {
    rmSync(stage, { recursive: true })
  }
  return lines
}

/** The path of a package's tarball. */
export function tarball(name: string): string {
  return join(TARBALLS, `${name}-${projectVersion()}.tgz`)
}

async function findAddons(folder: string | undefined): Promise<Addon[]> {
  const given = folder === undefined ? new Map<string, string>() : addonsIn(folder)
  const built = await buildReleaseAddons(releasePlatforms().filter((name) => !given.has(name)))
  return PLATFORMS.flatMap((platform) => {
    const path = given.get(platform.name) ?? built.get(platform.name)
    return path === undefined ? [] : [{ platform, path }]
  })
}

/** The addons of a folder, by platform. */
function addonsIn(folder: string): Map<string, string> {
  const files = readdirSync(folder).filter((name) => name.endsWith('.node'))
  const known = new Map(PLATFORMS.map(({ name }) => [addonFile(name), name]))
  return new Map(
    files.map((file) => {
      const platform = known.get(file)
      if (platform !== undefined) return [platform, join(folder, file)]
      throw new StepError(`Expected one of ${[...known.keys()].join(', ')} in ${folder} but received ${file}`)
    }),
  )
}

/** Says what an addon is, and throws where it must not be released. */
async function pass({ platform, path }: Addon): Promise<void> {
  const bytes = statSync(path).size
  const elf = platform.elf === null ? null : await readElf(path)
  const found = [
    ...complaints(bytes, elf, platform.elf),
    ...(elf === null ? machOComplaints(readFileSync(path)) : []),
  ]
  const glibc = elf === null ? null : glibcOf(elf)
  const facts = [
    `${bytes} bytes`,
    ...(glibc === null ? [] : [`glibc ${glibc} or newer`]),
    ...(elf === null ? [] : [`built with Rust ${elf.rust ?? 'of a version that it does not say'}`]),
  ]
  process.stdout.write(`${addonFile(platform.name)}: ${facts.join(', ')}\n`)
  if (found.length > 0)
    throw new StepError(`${path} must not be released:\n${found.map((line) => `  ${line}`).join('\n')}`)
}
