import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Cache } from './cache.ts'
import { filesBelow, fingerprintFiles } from './fingerprint.ts'
import type { Workshop } from './workshop.ts'

/** Where every micro-guest is linked, and loaded. */
const LOAD_ADDRESS = '0x80000000'

/** Assembles every micro-guest below `sources` into `<into>/<name>.bin`, flat binaries linked at 0x80000000. */
export async function assembleGuests(workshop: Workshop, sources: string, into: string): Promise<void> {
  mkdirSync(into, { recursive: true })
  await workshop.withScratch(async ({ outside, inside }) => {
    cpSync(sources, join(outside, 'sources'), { recursive: true })
    for (const file of guestSources(sources)) {
      const name = basename(file, '.S')
      const at = (suffix: string): string => `${inside}/${name}.${suffix}`
      const source = `${inside}/sources/${basename(file)}`
      const tool = (program: string, args: readonly string[]): Promise<string> =>
        workshop.run(`${workshop.crossPrefix}${program}`, args)
      await tool('gcc', ['-c', '-nostdlib', '-I', `${inside}/sources`, source, '-o', at('o')])
      await tool('ld', [`-Ttext=${LOAD_ADDRESS}`, '-e', '_start', at('o'), '-o', at('elf')])
      await tool('objcopy', ['-O', 'binary', at('elf'), at('bin')])
      cpSync(join(outside, `${name}.bin`), join(into, `${name}.bin`))
    }
  })
}

/** Assembles the project's micro-guests through the cache into its `build/guests`, and returns that folder. */
export async function makeGuests(cache: Cache, workshop: Workshop, projectRoot: string): Promise<string> {
  const sources = join(projectRoot, '__test__', 'guests')
  const inputs = {
    sources: fingerprintFiles(sources, filesBelow(sources)),
    prefix: workshop.crossPrefix,
    format: 1,
  }
  const folder = await cache.artefact('guests', inputs, (into) => assembleGuests(workshop, sources, into))
  const target = join(projectRoot, 'build', 'guests')
  mkdirSync(target, { recursive: true })
  for (const name of readdirSync(folder)) {
    const [from, to] = [join(folder, name), join(target, name)]
    if (!existsSync(to) || !readFileSync(from).equals(readFileSync(to))) writeFileSync(to, readFileSync(from))
  }
  return target
}

function guestSources(folder: string): string[] {
  return readdirSync(folder).filter((name) => name.endsWith('.S') && name !== 'runtime.S')
}
