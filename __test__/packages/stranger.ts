import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

/** What a program left. */
export interface Left {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

export type PackageManager = 'npm' | 'pnpm'

const PNPM = fileURLToPath(new URL('../../../node_modules/pnpm/bin/pnpm.cjs', import.meta.url))

/** An empty folder of somebody who knows nothing of this project, with a registry and a cache of its own. */
export class Stranger {
  readonly folder = mkdtempSync(join(tmpdir(), 'seawall-stranger-'))
  readonly #env: NodeJS.ProcessEnv

  constructor(registry: string) {
    // What `npm test` sets is not for the npm of a stranger.
    const env = Object.entries(process.env).filter(
      ([name]) => !/^(npm_|node_(options|env|v8)|force_color)/i.test(name),
    )
    this.#env = {
      ...Object.fromEntries(env),
      NO_COLOR: '1',
      npm_config_registry: registry,
      npm_config_cache: join(this.folder, '.cache'),
      npm_config_userconfig: join(this.folder, '.npmrc'),
      npm_config_fetch_retries: '0',
      npm_config_audit: 'false',
      npm_config_fund: 'false',
      npm_config_update_notifier: 'false',
    }
    // A registry wants to know who publishes; this one takes anybody.
    this.write('.npmrc', `${registry.replace(/^https?:/, '')}:_authToken=anybody\n`)
    this.write('package.json', '{ "name": "stranger", "private": true }\n')
  }

  /** Writes a file of the folder. */
  write(name: string, text: string): void {
    writeFileSync(join(this.folder, name), text)
  }

  /** Runs a program in the folder to its end. */
  async run(program: string, ...args: readonly string[]): Promise<Left> {
    try {
      const options = { cwd: this.folder, env: this.#env, timeout: 240_000 }
      return { exitCode: 0, ...(await promisify(execFile)(program, args, options)) }
    } catch (error) {
      const { code, stdout, stderr } = error as { code?: unknown; stdout?: string; stderr?: string }
      if (typeof code !== 'number') throw error
      return { exitCode: code, stdout: stdout ?? '', stderr: stderr ?? '' }
    }
  }

  /** Runs a program of Node. */
  async node(...args: readonly string[]): Promise<Left> {
    return await this.run(process.execPath, ...args)
  }

  /** Installs packages, by tarball or by name; throws where the package manager does. */
  async install(manager: PackageManager, ...packages: readonly string[]): Promise<void> {
    const { exitCode, stdout, stderr } = await (manager === 'npm'
      ? this.run('npm', 'install', ...packages)
      : this.node(PNPM, 'add', '--store-dir', '.store', ...packages))
    if (exitCode !== 0) throw new Error(`${manager} ended with exit code ${exitCode}:\n${stdout}${stderr}`)
  }

  /** Removes the folder. */
  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true })
  }
}
