import { cpSync } from 'node:fs'
import { basename, join } from 'node:path'
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

/** Where another kernel for the Linux guest lies (`LabCommand.guestKernel`). */
export function otherGuestKernel(version: string): string {
  return `${LINUX_GUEST.kernel}-${version}`
}

/** Sources of the guest's programs. */
const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  init: ['init.c', 'console.c', 'process.c', 'report.c'],
  bystander: ['bystander.c', 'report.c'],
  nothing: ['nothing.c'],
  'retire-pages': ['retire-pages.c'],
  stress: ['stress.c', 'process.c', 'report.c'],
  victim: ['victim.c', 'report.c'],
}

/** Makes the part of the lab's initramfs that has the Linux guest: its kernel, which is the lab's own, and its initramfs. */
export async function makeLinuxGuest(
  root: ToolRoot,
  kernel: LabKernel,
  projectRoot: string,
): Promise<string> {
  const initrd = await makeInitrd(root, projectRoot)
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
async function makeInitrd(root: ToolRoot, projectRoot: string): Promise<string> {
  const folders = [join('lab', 'linux-guest'), 'agent'].map((folder) => join(projectRoot, folder))
  const files = folders.flatMap((folder) => filesBelow(folder)).filter((file) => /\.[ch]$/.test(file))
  const inputs = { PROGRAMS, sources: fingerprintFiles(projectRoot, files), root: root.key, format: 1 }
  const folder = await root.cache.artefact('linux-guest-initrd', inputs, async (into) => {
    const archive = new CpioWriter(join(into, 'initrd.cpio'))
    await root.withScratch(async ({ outside, inside }) => {
      for (const file of files) cpSync(file, join(outside, basename(file)))
      for (const [name, own] of Object.entries(PROGRAMS)) {
        const options = ['-std=gnu17', '-O2', '-static', '-s', '-Wall', '-Wextra', '-Werror']
        const paths = own.map((source) => `${inside}/${source}`)
        await root.run(`${root.crossPrefix}gcc`, [...options, ...paths, '-o', `${inside}/${name}`])
        archive.copy(name === 'init' ? 'init' : `bin/${name}`, join(outside, name), 0o755)
      }
    })
    archive.close()
  })
  return join(folder, 'initrd.cpio')
}
