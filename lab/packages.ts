import { mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { LabError } from './errors.ts'
import { say } from './progress.ts'
import type { ToolRoot } from './tool-root.ts'

/**
 * Downloads Debian packages with the root's apt, which checks them against the signed lists, and unpacks them into
 * `<folder>/files` without installing them. `folder` must lie on the cache's file system.
 */
export async function unpackPackages(root: ToolRoot, names: readonly string[], folder: string): Promise<string> {
  const scratch = mkdtempSync(root.host('/var/tmp/packages-'))
  const inside = `/var/tmp/${basename(scratch)}`
  try {
    await downloadPackages(root, names, inside)
    for (const file of readdirSync(scratch)) {
      await root.run('dpkg-deb', ['--extract', `${inside}/${file}`, `${inside}/files`])
    }
    const files = join(folder, 'files')
    renameSync(join(scratch, 'files'), files)
    return files
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

/** Downloads packages into a folder of the root; fetches fresh lists once, for an archive that has moved on. */
async function downloadPackages(root: ToolRoot, names: readonly string[], cwd: string): Promise<void> {
  const args = ['--quiet', '--option', 'APT::Sandbox::User=root', 'download', ...names]
  try {
    await root.run('apt-get', args, { cwd })
  } catch (first) {
    say(`download failed, fetching fresh package lists (${names.join(', ')})`)
    try {
      await updateLists(root)
      await root.run('apt-get', args, { cwd })
    } catch (cause) {
      throw new LabError('download-failed', `Expected to download ${names.join(', ')} twice: ${first}; ${cause}`, {
        cause,
      })
    }
  }
}

/** Fetches fresh package lists in the root. */
export async function updateLists(root: ToolRoot): Promise<void> {
  await root.cache.locked(`lists-${root.key}`, () =>
    root.run('apt-get', ['--quiet', '--option', 'APT::Sandbox::User=root', 'update']),
  )
}
