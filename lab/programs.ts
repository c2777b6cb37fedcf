import { cpSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { CpioWriter } from './cpio.ts'
import { filesBelow, fingerprintFiles } from './fingerprint.ts'
import type { LabFile } from './project-archive.ts'
import type { ToolRoot } from './tool-root.ts'

const OPTIONS = ['-std=gnu17', '-O2', '-static', '-Wall', '-Wextra', '-Werror']

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
        await root.run(`${root.crossPrefix}gcc`, [
          ...OPTIONS,
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

/** Builds one C program for the lab, with the headers of the lab's kernel: a file of its name in the project's `programs`. */
export async function makeProgram(root: ToolRoot, kernelHeaders: string, source: string): Promise<LabFile> {
  const name = basename(source, '.c')
  const inputs = { source: readFileSync(source, 'utf8'), root: root.key, headers: kernelHeaders, format: 1 }
  const folder = await root.cache.artefact(`program-${name}`, inputs, async (into) => {
    await root.withScratch(async ({ outside, inside }) => {
      cpSync(source, join(outside, `${name}.c`))
      cpSync(kernelHeaders, join(outside, 'include'), { recursive: true })
      const headers = ['-isystem', `${inside}/include`]
      await root.run(`${root.crossPrefix}gcc`, [
        ...OPTIONS,
        ...headers,
        `${inside}/${name}.c`,
        '-o',
        `${inside}/${name}`,
      ])
      cpSync(join(outside, name), join(into, name))
    })
  })
  return { path: join('programs', name), content: { from: join(folder, name) } }
}
