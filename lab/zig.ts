import { existsSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { run } from './command.ts'
import { LabError } from './errors.ts'
import type { ToolRoot } from './tool-root.ts'

/** Zig, and cargo-zigbuild, which links with it against the C library of a chosen version; paths inside the tool root. */
export interface Zig {
  /** Name of the artefact, an input of everything linked with it. */
  readonly key: string
  readonly compiler: string
  readonly cargo: string
}

/** Downloads zig and cargo-zigbuild by their hashes, or finds them in the cache, and brings them into the tool root. */
export async function makeZig(root: ToolRoot, project: string): Promise<Zig> {
  const requirements = join(project, 'lab', 'zig-requirements.txt')
  const inputs = { requirements: readFileSync(requirements, 'utf8'), machine: process.arch, format: 1 }
  const folder = await root.cache.artefact('zig', inputs, (into) => download(requirements, into))
  const key = basename(folder)
  const inside = `/var/lib/seawall/${key}`
  await root.cache.locked(`tool-root-${key}`, async () => {
    if (existsSync(root.host(inside))) return
    await run('mkdir', ['-p', root.host('/var/lib/seawall')])
    await run('cp', ['-al', folder, root.host(`${inside}.unfinished`)])
    await run('mv', [root.host(`${inside}.unfinished`), root.host(inside)])
  })
  return { key, compiler: `${inside}/ziglang/zig`, cargo: `${inside}/bin/cargo-zigbuild` }
}

async function download(requirements: string, into: string): Promise<void> {
  const how = [
    '--no-deps',
    '--only-binary=:all:',
    '--require-hashes',
    '--no-compile',
    '--no-input',
    '--quiet',
  ]
  const where = ['--target', into, '--requirement', requirements, '--root-user-action=ignore']
  try {
    await run('python3', ['-m', 'pip', 'install', ...how, ...where])
  } catch (cause) {
    const isMissing = /ENOENT|No module named pip/.test(String(cause))
    throw new LabError(
      isMissing ? 'missing-tool' : 'download-failed',
      isMissing
        ? 'Expected Python with pip, which brings zig, but this machine has none. Install it: apt-get install python3-pip'
        : `Expected pip to fetch zig: ${cause instanceof Error ? cause.message : cause}`,
      { cause },
    )
  }
}
