import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { CpioWriter } from './cpio.ts'
import { PROJECT_IN_LAB } from './dependency-archive.ts'
import { filesBelow, fingerprintFiles } from './fingerprint.ts'
import type { LabKernel } from './kernel.ts'
import type { ToolRoot } from './tool-root.ts'

/** Where the Linux guest lies, relative to the project in the lab. */
export const LINUX_GUEST = {
  kernel: join('build', 'linux-guest', 'Image'),
  initrd: join('build', 'linux-guest', 'initrd.cpio'),
} as const

/** Sources of the guest's programs; `report.c` is part of each. */
const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  init: ['init.c', 'console.c', 'process.c'],
  bystander: ['bystander.c'],
  nothing: ['nothing.c'],
  stress: ['stress.c', 'process.c'],
  victim: ['victim.c'],
}

/** Makes the part of the lab's initramfs that has the Linux guest: its kernel, which is the lab's own, and its initramfs. */
export async function makeLinuxGuest(root: ToolRoot, kernel: LabKernel, sources: string): Promise<string> {
  const initrd = await makeInitrd(root, sources)
  const inputs = { initrd, kernel: kernel.packageVersion, PROJECT_IN_LAB, LINUX_GUEST, format: 1 }
  const folder = await root.cache.artefact('linux-guest', inputs, async (into) => {
    const archive = new CpioWriter(join(into, 'guest.cpio'))
    archive.copy(join(PROJECT_IN_LAB, LINUX_GUEST.kernel), kernel.image)
    archive.copy(join(PROJECT_IN_LAB, LINUX_GUEST.initrd), initrd)
    archive.close()
  })
  return join(folder, 'guest.cpio')
}

/** Builds the guest's programs, and makes the initramfs that has them. */
async function makeInitrd(root: ToolRoot, sources: string): Promise<string> {
  const files = filesBelow(sources).filter((file) => /\.[ch]$/.test(file))
  const inputs = { PROGRAMS, sources: fingerprintFiles(sources, files), root: root.key, format: 1 }
  const folder = await root.cache.artefact('linux-guest-initrd', inputs, async (into) => {
    const archive = new CpioWriter(join(into, 'initrd.cpio'))
    await root.withScratch(async ({ outside, inside }) => {
      for (const file of files) cpSync(file, join(outside, file.slice(sources.length)))
      for (const [name, own] of Object.entries(PROGRAMS)) {
        const options = ['-std=gnu17', '-O2', '-static', '-s', '-Wall', '-Wextra', '-Werror']
        const paths = [...own, 'report.c'].map((source) => `${inside}/${source}`)
        await root.run(`${root.crossPrefix}gcc`, [...options, ...paths, '-o', `${inside}/${name}`])
        archive.copy(name === 'init' ? 'init' : `bin/${name}`, join(outside, name), 0o755)
      }
    })
    archive.close()
  })
  return join(folder, 'initrd.cpio')
}
