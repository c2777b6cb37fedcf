import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'
import { projectVersion, StepError, step } from '../step.ts'
import { tarball } from './pack.ts'
import { PLATFORMS, packageName } from './platforms.ts'

/** How to publish. */
export interface PublishOptions {
  /** Do all but the last step. */
  readonly dryRun: boolean
  /** Go on without the packages of platforms that there is no addon for: for a rehearsal. */
  readonly allowMissing: boolean
}

/**
 * Publishes the packages to the registry that npm is set up for, the root package last: it is of use once the others are
 * there. What is there already is left alone, so that a release that broke off goes on where it was.
 */
export async function publishPackages({ dryRun, allowMissing }: PublishOptions): Promise<void> {
  const names = [...PLATFORMS.map(({ name }) => packageName(name)), 'seawall']
  const missing = names.filter((name) => !existsSync(tarball(name)))
  if (missing.includes('seawall') || (missing.length > 0 && !allowMissing))
    throw new StepError(
      `Expected the packages of \`npm run package -- --all\` but there is no ${missing.join(', no ')}`,
    )
  for (const name of names.filter((name) => !missing.includes(name))) {
    if (await isPublished(`${name}@${projectVersion()}`)) {
      process.stdout.write(`${name}@${projectVersion()}: is there already\n`)
      continue
    }
    const how = ['--access', 'public', '--tag', distTag(projectVersion()), ...(dryRun ? ['--dry-run'] : [])]
    await step('npm', ['publish', tarball(name), ...how])
  }
}

/** Under which name a registry hands a version out. npm wants one for a version before a release, and refuses it without. */
export function distTag(version: string): string {
  return version.includes('-') ? 'next' : 'latest'
}

/**
 * Whether a registry has this version of a package, such as `seawall@0.2.0`. Throws where the registry does not say, because
 * a release that goes on without knowing would publish some of its packages and not others.
 */
export async function isPublished(wanted: string, env = process.env): Promise<boolean> {
  const view = promisify(execFile)('npm', ['view', wanted, 'version', '--json'], { env })
  return await view.then(
    ({ stdout }) => stdout.trim() !== '',
    ({ stdout, message }: { stdout: string; message: string }) => {
      const error = npmError(stdout)
      if (error?.code === 'E404') return false
      const said = error === null ? message : `${error.code}: ${error.summary}`
      throw new StepError(`Expected the registry to say whether it has ${wanted} but npm received ${said}`)
    },
  )
}

/** What npm says of its failure; `null` where it says nothing that one can read. */
function npmError(stdout: string): { code: string; summary: string } | null {
  try {
    return (JSON.parse(stdout) as { error?: { code: string; summary: string } }).error ?? null
  } catch {
    return null
  }
}
