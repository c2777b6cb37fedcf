import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { LabError } from './errors.ts'
import { say } from './progress.ts'
import type { ToolRoot } from './tool-root.ts'

/**
 * Downloads Debian packages with the root's apt, which checks them against the signed lists, and unpacks them into
 * `<folder>/files` without installing them. `folder` must lie on the cache's file system.
 */
export async function unpackPackages(
  root: ToolRoot,
  names: readonly string[],
  folder: string,
): Promise<string> {
  return await root.withScratch(async ({ outside, inside }) => {
    await downloadPackages(root, names, inside)
    for (const file of readdirSync(outside)) {
      await root.run('dpkg-deb', ['--extract', `${inside}/${file}`, `${inside}/files`])
    }
    const files = join(folder, 'files')
    renameSync(join(outside, 'files'), files)
    return files
  })
}

/** Unpacks packages over the root itself: for files that only work at their own absolute paths. */
export async function unpackIntoRoot(root: ToolRoot, names: readonly string[]): Promise<void> {
  await root.withScratch(async ({ outside, inside }) => {
    await downloadPackages(root, names, inside)
    for (const file of readdirSync(outside))
      await root.run('dpkg-deb', ['--extract', `${inside}/${file}`, '/'])
  })
}

/** Downloads packages into a folder of the root; fetches fresh lists once, for an archive that has moved on. */
async function downloadPackages(root: ToolRoot, names: readonly string[], cwd: string): Promise<void> {
  borrowNameResolution(root)
  const args = ['--quiet', '--option', 'APT::Sandbox::User=root', 'download', ...names]
  try {
    await root.run('apt-get', args, { cwd })
  } catch {
    say(`download failed, fetching fresh package lists (${names.join(', ')})`)
    try {
      await updateLists(root)
      await root.run('apt-get', args, { cwd })
    } catch (cause) {
      throw new LabError(
        'download-failed',
        `Expected to download ${names.join(', ')} but it failed twice. ${cause instanceof Error ? cause.message : cause}`,
        { cause },
      )
    }
  }
}

// The root is older than the network this machine is in now.
function borrowNameResolution(root: ToolRoot): void {
  for (const file of ['/etc/resolv.conf', '/etc/hosts']) {
    if (existsSync(file)) writeFileSync(root.host(file), readFileSync(file))
  }
}

/** One field of a package's record in the root's lists; empty when it has none. */
export async function packageField(root: ToolRoot, name: string, field: string): Promise<string> {
  const record = await root.run('apt-cache', ['show', '--no-all-versions', name])
  const line = record.split('\n').find((text) => text.startsWith(`${field}: `))
  return line?.slice(field.length + 2) ?? ''
}

async function updateLists(root: ToolRoot): Promise<void> {
  await root.cache.locked(`lists-${root.key}`, () =>
    root.run('apt-get', ['--quiet', '--option', 'APT::Sandbox::User=root', 'update']),
  )
}
