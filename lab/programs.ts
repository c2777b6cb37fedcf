import { cpSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { CpioWriter } from './cpio.ts'
import { filesBelow, fingerprintFiles } from './fingerprint.ts'
import type { LabFile } from './project-archive.ts'
import type { ToolRoot } from './tool-root.ts'

const PROGRAM = ['-static']
const ADDON = ['-shared', '-fPIC', '-pthread', '-Wno-unused-parameter']
const COMMON = ['-std=gnu17', '-O2', '-Wall', '-Wextra', '-Werror']

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
          ...COMMON,
          ...PROGRAM,
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

/** A C source of its own, to be built for arm64. */
export interface Source {
  /** Its path. */
  readonly path: string
  /** A folder of headers that come before the tool root's. */
  readonly headers: string
  /** An addon of Node's, which becomes `<name>.node`, instead of a program. */
  readonly addon?: boolean
}

/** Builds one C source for the lab: a file in the project's `programs`, of its name. */
export async function makeProgram(
  root: ToolRoot,
  { path, headers, addon = false }: Source,
): Promise<LabFile> {
  const source = basename(path)
  const program = `${basename(path, '.c')}${addon ? '.node' : ''}`
  const options = [...COMMON, ...(addon ? ADDON : PROGRAM)]
  const text = readFileSync(path, 'utf8')
  const inputs = { text, root: root.key, headers, options: options.join(' '), format: 1 }
  const folder = await root.cache.artefact(`program-${program}`, inputs, async (into) => {
    await root.withScratch(async ({ outside, inside }) => {
      cpSync(path, join(outside, source))
      cpSync(headers, join(outside, 'include'), { recursive: true })
      const include = ['-isystem', `${inside}/include`]
      const names = [`${inside}/${source}`, '-o', `${inside}/${program}`]
      await root.run(`${root.crossPrefix}gcc`, [...options, ...include, ...names])
      cpSync(join(outside, program), join(into, program))
    })
  })
  return { path: join('programs', program), content: { from: join(folder, program) } }
}
