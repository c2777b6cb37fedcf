import { cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { CpioWriter } from './cpio.ts'
import { filesBelow, fingerprintFiles } from './fingerprint.ts'
import type { ToolRoot } from './tool-root.ts'

/** Sources that are part of every program; init has the console's besides. */
const SHARED = ['report.c']
const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  init: ['init.c', 'console.c'],
  bystander: ['bystander.c'],
  nothing: ['nothing.c'],
  stress: ['stress.c'],
  victim: ['victim.c'],
}

/** Builds the Linux guest's initramfs through the cache, and copies it to `build/linux-guest/initrd.cpio`. */
export async function makeLinuxGuest(root: ToolRoot, projectRoot: string): Promise<string> {
  const sources = join(projectRoot, 'lab', 'linux-guest')
  const files = filesBelow(sources).filter((file) => /\.[ch]$/.test(file))
  const inputs = { PROGRAMS, sources: fingerprintFiles(sources, files), root: root.key, format: 1 }
  const folder = await root.cache.artefact('linux-guest', inputs, async (into) => {
    const archive = new CpioWriter(join(into, 'initrd.cpio'))
    // The kernel opens it for the first process, which mounts the rest.
    for (const name of ['dev', 'proc', 'sys', 'tmp']) archive.folder(name)
    await root.withScratch(async ({ outside, inside }) => {
      for (const file of files) cpSync(file, join(outside, file.slice(sources.length)))
      for (const [name, own] of Object.entries(PROGRAMS)) {
        const options = ['-std=gnu17', '-O2', '-static', '-s', '-Wall', '-Wextra', '-Werror']
        const paths = [...own, ...SHARED].map((source) => `${inside}/${source}`)
        await root.run(`${root.crossPrefix}gcc`, [...options, ...paths, '-o', `${inside}/${name}`])
        archive.copy(name === 'init' ? 'init' : `bin/${name}`, join(outside, name), 0o755)
      }
    })
    archive.close()
  })
  const target = join(projectRoot, 'build', 'linux-guest', 'initrd.cpio')
  const initrd = readFileSync(join(folder, 'initrd.cpio'))
  mkdirSync(join(target, '..'), { recursive: true })
  if (!existsSync(target) || !readFileSync(target).equals(initrd)) cpSync(join(folder, 'initrd.cpio'), target)
  return target
}
