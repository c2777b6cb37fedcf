import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fingerprint } from './fingerprint.ts'
import { withLock } from './lock.ts'
import { say, secondsSince } from './progress.ts'

/** A folder of artefacts, each named by what it was built from, each complete or absent. */
export class Cache {
  readonly folder: string

  constructor(folder: string = defaultCacheFolder()) {
    this.folder = folder
    for (const name of ['artefacts', 'locks', 'runs']) mkdirSync(join(folder, name), { recursive: true })
  }

  /** Folder of runs in progress and of the console logs of failed ones. */
  get runs(): string {
    return join(this.folder, 'runs')
  }

  /**
   * Returns the artefact `<name>-<sha256 of inputs>`, building it when it is absent.
   * `build` fills a temporary sibling, which is renamed into place when complete.
   */
  async artefact(name: string, inputs: unknown, build: (folder: string) => Promise<void>): Promise<string> {
    const full = `${name}-${fingerprint(inputs)}`
    const path = join(this.folder, 'artefacts', full)
    if (existsSync(path)) {
      say(`${name}: cached`)
      return path
    }
    return await this.locked(full, async () => {
      if (existsSync(path)) return path
      // Whoever left these is gone: we hold the lock.
      for (const entry of readdirSync(join(this.folder, 'artefacts'))) {
        if (entry.startsWith(`.${full}.`))
          rmSync(join(this.folder, 'artefacts', entry), { recursive: true, force: true, maxRetries: 10 })
      }
      const unfinished = join(this.folder, 'artefacts', `.${full}.${process.pid}`)
      const began = performance.now()
      say(`${name}: building`)
      mkdirSync(unfinished)
      try {
        await build(unfinished)
        renameSync(unfinished, path)
      } catch (error) {
        rmSync(unfinished, { recursive: true, force: true })
        throw error
      }
      say(`${name}: built in ${secondsSince(began).toFixed(1)} s`)
      return path
    })
  }

  /** Runs `action` while no other process runs one under the same name. */
  async locked<T>(name: string, action: () => Promise<T>): Promise<T> {
    return await withLock(join(this.folder, 'locks', name), action)
  }

  /** Removes the whole cache. */
  clean(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** `$SEAWALL_CACHE`, else `seawall` in the user's cache folder. */
export function defaultCacheFolder(): string {
  const { SEAWALL_CACHE: own, XDG_CACHE_HOME: shared } = process.env
  if (own) return own
  return join(shared || join(homedir(), '.cache'), 'seawall')
}
