import { join } from 'node:path'
import { makeAddon } from './addon.ts'
import { makeBaseArchive } from './base-archive.ts'
import { Cache } from './cache.ts'
import { CargoWorkspace } from './cargo.ts'
import { acpiCompiler, deviceTreeCompiler, makeDebianProgram } from './debian-program.ts'
import { makeDependencyArchive } from './dependency-archive.ts'
import { makeGuests } from './guests.ts'
import { type LabKernel, makeKernel } from './kernel.ts'
import { makeKernelHeaders } from './kernel-headers.ts'
import { makeLinuxGuest } from './linux-guest.ts'
import { makeModule } from './module.ts'
import { makeNodeRuntime } from './node-runtime.ts'
import { makeProgram, makeProgramArchive } from './programs.ts'
import { say } from './progress.ts'
import { findProjectRoot } from './project.ts'
import type { LabFile } from './project-archive.ts'
import { Qemu } from './qemu.ts'
import { makeReleaseAddon, type ReleasePlatform } from './release-addon.ts'
import { makeRustTest, type RustTest } from './rust-tests.ts'
import { makeBackportsQemu, makeToolRoot, type ToolRoot } from './tool-root.ts'
import { makeZig } from './zig.ts'

export { LabError, type LabErrorCode } from './errors.ts'
export { assembleGuests } from './guests.ts'
export type { LabFile } from './project-archive.ts'
export { GLIBC_FLOOR, type ReleasePlatform, releasePlatforms } from './release-addon.ts'
export { type LabCommand, type LabResult, runInLab } from './run.ts'
export type { RustTest } from './rust-tests.ts'
export { ThisMachine } from './workshop.ts'

/** Choices of a set-up; all have defaults. */
export interface LabOptions {
  /** Kernel of the lab, by version (`'6.12'`); default is the newest of Debian's backports, at least 6.19. */
  readonly kernel?: string
  /** Cache folder; default `$SEAWALL_CACHE`, else `seawall` in the user's cache folder. */
  readonly cacheFolder?: string
  /** The checkout to put into the lab; default the one this file belongs to. */
  readonly projectRoot?: string
  /** False leaves the addon out: for work on the lab while the Rust code does not compile. */
  readonly addon?: boolean
}

/** A kernel of the lab and the module that belongs to it. */
export interface BootableKernel extends LabKernel {
  /** The sea-inject module; null for a kernel that cannot hand a SEA to the VMM. */
  readonly module: string | null
}

/** Everything a run needs, complete on this machine. */
export interface Lab {
  readonly cache: Cache
  readonly projectRoot: string
  readonly root: ToolRoot
  readonly qemu: Qemu
  readonly kernel: BootableKernel
  /** Include folder with the kernel's user-space headers for arm64. */
  readonly kernelHeaders: string
  /** The addon for arm64; null when the set-up was told to leave it out. */
  readonly addon: string | null
  /** Folder of the micro-guests, `<name>.bin`. */
  readonly guests: string
  /** Archives that no run changes, in the order in which the kernel unpacks them. */
  readonly archives: readonly string[]
  /** Another kernel for single runs. */
  otherKernel(wanted: string): Promise<BootableKernel>
  /** The path of `dtc`, which reads device trees. */
  deviceTreeCompiler(): Promise<string>
  /** The path of `iasl`, which reads ACPI tables. */
  acpiCompiler(): Promise<string>
  /** The QEMU of Debian's backports, for CPU models that the release's own does not have. */
  backportsQemu(): Promise<Qemu>
}

/** Sets the lab up: builds what is not in the cache, and says of the rest that it is. */
export async function setUpLab(options: LabOptions = {}): Promise<Lab> {
  const projectRoot = options.projectRoot ?? findProjectRoot()
  const cache = new Cache(options.cacheFolder)
  const root = await makeToolRoot(cache)
  const kernel = await bootable(root, projectRoot, options.kernel)
  const kernelHeaders = await makeKernelHeaders(root, kernel)
  const node = await makeNodeRuntime(cache)
  const archives = [
    await makeBaseArchive(root, node, join(projectRoot, 'lab', 'init')),
    await makeProgramArchive(root, join(projectRoot, 'lab', 'programs')),
    await makeDependencyArchive(cache, projectRoot),
    await makeLinuxGuest(root, kernel, projectRoot),
  ]
  const guests = await makeGuests(cache, root, projectRoot)
  const addon = options.addon === false ? null : await makeAddon(root, new CargoWorkspace(root, projectRoot))
  const qemu = new Qemu(root.path)
  say(`ready: Linux ${kernel.release}, QEMU ${await qemu.version()}`)
  return {
    cache,
    projectRoot,
    root,
    qemu,
    kernel,
    kernelHeaders,
    addon,
    guests,
    archives,
    otherKernel: (wanted) => bootable(root, projectRoot, wanted),
    deviceTreeCompiler: () => makeDebianProgram(root, deviceTreeCompiler),
    acpiCompiler: () => makeDebianProgram(root, acpiCompiler),
    backportsQemu: async () => new Qemu(await makeBackportsQemu(cache)),
  }
}

/** Builds one integration test of the Rust workspace for the lab: a program of that name in the project's `rust-tests`. */
export async function buildRustTest(lab: Lab, test: RustTest): Promise<LabFile> {
  return await makeRustTest(lab.root, new CargoWorkspace(lab.root, lab.projectRoot), test)
}

/** Builds a C program of the project for the lab, with the headers of its kernel: a file in the project's `programs` there. */
export async function buildProgram(lab: Lab, source: string): Promise<LabFile> {
  return await makeProgram(lab.root, { path: join(lab.projectRoot, source), headers: lab.kernelHeaders })
}

/** Builds an addon in C, with Node's headers in `headers`, in the same way: `<name>.node`. */
export async function buildNodeAddon(lab: Lab, source: string, headers: string): Promise<LabFile> {
  return await makeProgram(lab.root, { path: join(lab.projectRoot, source), headers, addon: true })
}

/** Runs `cargo <args>` for this project in the tool root: for checks of the arm64 build. Returns cargo's stdout. */
export async function cargoInToolRoot(
  args: readonly string[],
  options: { cacheFolder?: string; projectRoot?: string; loud?: boolean } = {},
): Promise<string> {
  const root = await makeToolRoot(new Cache(options.cacheFolder))
  const workspace = new CargoWorkspace(root, options.projectRoot ?? findProjectRoot())
  return await workspace.run(args, { loud: options.loud ?? true })
}

/** Builds the addons that users get, in the tool root. Returns their paths by platform. */
export async function buildReleaseAddons(
  platforms: readonly ReleasePlatform[],
): Promise<ReadonlyMap<string, string>> {
  const paths = new Map<string, string>()
  if (platforms.length === 0) return paths
  const projectRoot = findProjectRoot()
  const root = await makeToolRoot(new Cache())
  const zig = await makeZig(root, projectRoot)
  const workspace = new CargoWorkspace(root, projectRoot)
  for (const platform of platforms)
    paths.set(platform, await makeReleaseAddon(root, workspace, zig, platform))
  return paths
}

async function bootable(root: ToolRoot, projectRoot: string, wanted?: string): Promise<BootableKernel> {
  const kernel = await makeKernel(root, wanted)
  const sources = join(projectRoot, 'lab', 'sea-inject')
  return { ...kernel, module: kernel.handsSeaToVmm ? await makeModule(root, kernel, sources) : null }
}
