import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { fingerprint } from './fingerprint.ts'
import { withLock } from './lock.ts'
import { say, secondsSince } from './progress.ts'

const MONTH_MS = 30 * 24 * 3600 * 1000

/** A folder of artefacts, each named by what it was built from, each complete or absent. */
export class Cache {
  readonly folder: string

  constructor(folder: string = defaultCacheFolder()) {
    this.folder = resolve(folder)
    for (const name of ['artefacts', 'locks', 'runs']) mkdirSync(join(this.folder, name), { recursive: true })
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
      utimesSync(path, new Date(), new Date())
      say(`${name}: cached`)
      return path
    }
    return await this.locked(full, async () => {
      if (existsSync(path)) return path
      this.#sweep(full)
      const unfinished = join(this.folder, 'artefacts', `.${full}.${process.pid}`)
      const began = performance.now()
      say(`${name}: building`)
      mkdirSync(unfinished)
      try {
        await build(unfinished)
        // A Debian root brings the time stamp of its archive along.
        utimesSync(unfinished, new Date(), new Date())
        renameSync(unfinished, path)
      } catch (error) {
        rmSync(unfinished, { recursive: true, force: true })
        throw error
      }
      say(`${name}: built in ${secondsSince(began).toFixed(1)} s`)
      return path
    })
  }

  /** Removes what killed builds of `wanted` left, and artefacts that nothing has used for a month. */
  #sweep(wanted: string): void {
    for (const entry of readdirSync(join(this.folder, 'artefacts'))) {
      const path = join(this.folder, 'artefacts', entry)
      const unused = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0)
      // Whoever built the same and did not finish is gone: we hold the lock.
      if (entry.startsWith(`.${wanted}.`) || unused > MONTH_MS) {
        rmSync(path, { recursive: true, force: true, maxRetries: 10 })
      }
    }
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
