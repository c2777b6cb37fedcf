import { cpSync } from 'node:fs'
import { basename, join } from 'node:path'
import { CpioWriter } from './cpio.ts'
import { filesBelow, fingerprintFiles } from './fingerprint.ts'
import type { ToolRoot } from './tool-root.ts'

/** Builds every C program below `sources` for the lab, and makes the part of the initramfs that has them, in `/bin`. */
export async function makeProgramArchive(root: ToolRoot, sources: string): Promise<string> {
  const files = filesBelow(sources).filter((file) => /\.[ch]$/.test(file))
  const inputs = { sources: fingerprintFiles(sources, files), root: root.key, format: 1 }
  const folder = await root.cache.artefact('program-archive', inputs, async (into) => {
    const archive = new CpioWriter(join(into, 'programs.cpio'))
    await root.withScratch(async ({ outside, inside }) => {
      for (const file of files) cpSync(file, join(outside, basename(file)))
      for (const file of files.filter((path) => path.endsWith('.c'))) {
        const name = basename(file, '.c')
        const options = ['-std=gnu17', '-O2', '-static', '-Wall', '-Wextra', '-Werror']
        await root.run(`${root.crossPrefix}gcc`, [
          ...options,
          `${inside}/${name}.c`,
          '-o',
          `${inside}/${name}`,
        ])
        archive.copy(`bin/${name}`, join(outside, name), 0o755)
      }
    })
    archive.close()
  })
  return join(folder, 'programs.cpio')
}
