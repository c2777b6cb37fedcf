import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { run } from './command.ts'
import { LabError } from './errors.ts'
import { filesBelow, fingerprint, fingerprintFiles } from './fingerprint.ts'
import type { ToolRoot } from './tool-root.ts'
import type { Zig } from './zig.ts'

/** The one target the lab builds for. */
export const RUST_TARGET = 'aarch64-unknown-linux-gnu'

/** A copy of the project's Rust workspace inside the tool root, with its crates and a target folder that stays warm. */
export class CargoWorkspace {
  readonly #root: ToolRoot
  readonly #project: string
  readonly #inside: string

  constructor(root: ToolRoot, project: string) {
    this.#root = root
    this.#project = project
    this.#inside = `/var/lib/seawall/${fingerprint(project).slice(0, 16)}`
  }

  /** Cargo's target folder as this machine sees it. */
  get target(): string {
    return this.#root.host(`${this.#inside}/target`)
  }

  /** SHA-256 of everything a build depends on. */
  fingerprint(): string {
    return fingerprintFiles(this.#project, this.#files())
  }

  /** The target folder of {@link zigbuild}. */
  get zigTarget(): string {
    return this.#root.host(`${this.#inside}/target-zig`)
  }

  /** Runs `cargo <args>` offline on the workspace as it is now, and returns its stdout. */
  async run(args: readonly string[], options: { loud?: boolean } = {}): Promise<string> {
    const env = {
      CARGO_TARGET_DIR: `${this.#inside}/target`,
      CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER: `${this.#root.crossPrefix}gcc`,
    }
    return await this.#run('cargo', args, env, options.loud ?? false)
  }

  /** Runs `cargo zigbuild <args>` on it. What is built does not say where it was built. */
  async zigbuild(zig: Zig, args: readonly string[]): Promise<void> {
    const remap = ['source', 'crates'].map((name) => `--remap-path-prefix=${this.#inside}/${name}=${name}`)
    const env = {
      CARGO_TARGET_DIR: `${this.#inside}/target-zig`,
      CARGO_ZIGBUILD_CACHE_DIR: `${this.#inside}/zig-cache`,
      CARGO_ZIGBUILD_ZIG_PATH: zig.compiler,
      RUSTFLAGS: remap.join(' '),
    }
    await this.#run(zig.cargo, ['zigbuild', ...args], env, true)
  }

  async #run(
    program: string,
    args: readonly string[],
    env: Readonly<Record<string, string>>,
    loud: boolean,
  ): Promise<string> {
    return await this.#root.cache.locked(`cargo-${fingerprint([this.#root.key, this.#inside])}`, async () => {
      this.#copySources()
      await this.#copyCrates()
      return await this.#root.run(program, args, {
        cwd: `${this.#inside}/source`,
        env: { CARGO_HOME: `${this.#inside}/cargo-home`, CARGO_NET_OFFLINE: 'true', ...env },
        loud,
      })
    })
  }

  #files(): string[] {
    const top = ['Cargo.toml', 'Cargo.lock', 'clippy.toml', 'rustfmt.toml']
    return [
      ...top.map((name) => join(this.#project, name)).filter((path) => existsSync(path)),
      ...filesBelow(join(this.#project, 'crates'), (name) => name === 'target'),
    ]
  }

  // Cargo goes by modification times, so they are kept, and only what differs is written.
  #copySources(): void {
    const copy = this.#root.host(`${this.#inside}/source`)
    mkdirSync(copy, { recursive: true })
    const wanted = new Set<string>()
    for (const file of this.#files()) {
      const name = relative(this.#project, file)
      wanted.add(name)
      const to = join(copy, name)
      const { mtime, size } = lstatSync(file)
      if (existsSync(to) && lstatSync(to).size === size && lstatSync(to).mtimeMs === mtime.getTime()) continue
      mkdirSync(dirname(to), { recursive: true })
      cpSync(file, to)
      utimesSync(to, mtime, mtime)
    }
    for (const file of filesBelow(copy)) if (!wanted.has(relative(copy, file))) rmSync(file)
  }

  /** Brings the locked crates into the root; the machine's own cargo fetches them, with its own settings. */
  async #copyCrates(): Promise<void> {
    const crates = this.#root.host(`${this.#inside}/crates`)
    const config = this.#root.host(`${this.#inside}/cargo-home/config.toml`)
    const stamp = this.#root.host(`${this.#inside}/crates-of`)
    const manifests = this.#files().filter((file) => /Cargo\.(toml|lock)$/.test(file))
    const wanted = fingerprintFiles(this.#project, manifests)
    if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return
    const printed = await run('cargo', ['vendor', '--locked', '--versioned-dirs', crates], {
      cwd: this.#project,
    }).catch((cause) => {
      const hint =
        cause instanceof LabError && cause.code === 'missing-tool'
          ? `${cause.message}. Install a Rust toolchain: https://rustup.rs`
          : `Expected cargo to fetch the locked crates: ${cause.message}`
      throw new LabError('download-failed', hint, { cause })
    })
    mkdirSync(dirname(config), { recursive: true })
    writeFileSync(config, printed.replaceAll(crates, `${this.#inside}/crates`))
    writeFileSync(stamp, wanted)
  }
}
