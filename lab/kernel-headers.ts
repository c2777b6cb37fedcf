import { readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { LabKernel } from './kernel.ts'
import { unpackPackages } from './packages.ts'
import type { ToolRoot } from './tool-root.ts'

/** Makes an include folder (linux/, asm/, asm-generic/) with a kernel's user-space headers for arm64; returns its path. */
export async function makeKernelHeaders(root: ToolRoot, kernel: LabKernel): Promise<string> {
  const inputs = { kernel: kernel.packageVersion, root: root.key, format: 1 }
  return await root.cache.artefact(`kernel-headers-${kernel.release}`, inputs, async (into) => {
    const files = await unpackPackages(root, [`linux-libc-dev=${kernel.packageVersion}`], into)
    // Debian's package holds the headers of every architecture, each behind links of its own.
    const include = join(files, 'usr', 'include')
    for (const name of readdirSync(include)) {
      if (!name.includes('-linux-gnu')) renameSync(join(include, name), join(into, name))
    }
    renameSync(join(files, 'usr', 'lib', 'linux', 'uapi', 'arm64', 'asm'), join(into, 'asm'))
    rmSync(files, { recursive: true })
  })
}
