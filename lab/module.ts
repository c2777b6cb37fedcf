import { cpSync, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { LabError } from './errors.ts'
import { filesBelow, fingerprintFiles } from './fingerprint.ts'
import type { LabKernel } from './kernel.ts'
import { packageField, unpackIntoRoot } from './packages.ts'
import type { ToolRoot } from './tool-root.ts'

/** Builds the sea-inject module for a kernel and returns the path of its `.ko`. */
export async function makeModule(root: ToolRoot, kernel: LabKernel, sources: string): Promise<string> {
  const files = filesBelow(sources).filter((file) => /(\.[ch]|Kbuild|Makefile)$/.test(file))
  const inputs = {
    sources: fingerprintFiles(sources, files),
    kernel: kernel.packageVersion,
    root: root.key,
    format: 1,
  }
  const folder = await root.cache.artefact(`sea-inject-${kernel.release}`, inputs, async (into) => {
    const headers = await makeHeaders(root, kernel.release)
    await root.withScratch(async ({ outside, inside }) => {
      for (const file of files) cpSync(file, join(outside, file.slice(sources.length)))
      const cross = root.crossPrefix === '' ? [] : [`CROSS_COMPILE=${root.crossPrefix}`]
      await root.run('make', ['-C', headers, `M=${inside}`, 'ARCH=arm64', ...cross, 'modules'])
      for (const name of modulesIn(outside)) cpSync(join(outside, name), join(into, name))
    })
  })
  const [module, ...others] = modulesIn(folder)
  if (module === undefined || others.length > 0) {
    throw new LabError(
      'command-failed',
      `Expected one kernel module from ${sources} but received ${[module, ...others].join(', ') || 'none'}`,
    )
  }
  return join(folder, module)
}

/** Unpacks the kernel's headers in the root, once, and returns their folder as seen inside. */
async function makeHeaders(root: ToolRoot, release: string): Promise<string> {
  const folder = `/usr/src/linux-headers-${release}`
  const complete = root.host(`${folder}/.complete`)
  await root.cache.locked(`headers-${release}-${root.key}`, async () => {
    if (existsSync(complete)) return
    const name = `linux-headers-${release}`
    const depends = await packageField(root, `${name}:arm64`, 'Depends')
    const parts = [...depends.matchAll(/\blinux-(?:headers|kbuild)-\d[^ ,]*/g)].map(([part]) => part)
    await unpackIntoRoot(root, [`${name}:arm64`, ...parts])
    // With vmlinux present the build wants to add BTF to the module, and that needs pahole.
    rmSync(root.host(`${folder}/vmlinux`), { force: true })
    writeFileSync(complete, '')
  })
  return folder
}

function modulesIn(folder: string): string[] {
  return readdirSync(folder).filter((name) => name.endsWith('.ko'))
}
