import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { LabError } from './errors.ts'
import { packageField, unpackPackages } from './packages.ts'
import type { ToolRoot } from './tool-root.ts'

const META_PACKAGE = 'linux-image-cloud-arm64:arm64'
/** The first Linux that hands a SEA to the VMM. */
const FIRST_WITH_SEA = [6, 19] as const

/** A Debian arm64 kernel which is the KVM host inside the lab. */
export interface LabKernel {
  /** What `uname -r` says, for example the Debian release string. */
  readonly release: string
  /** Debian's version of the package. */
  readonly packageVersion: string
  /** Bootable image on this machine. */
  readonly image: string
  /** Whether its KVM hands a SEA to the VMM. Where it does not, the lab has no sea-inject module. */
  readonly handsSeaToVmm: boolean
}

interface Candidate {
  readonly packageVersion: string
  readonly release: string
}

/** Resolves a kernel (`'6.12'`, `'7.3'`; undefined is the newest), downloads it, and returns it. */
export async function makeKernel(root: ToolRoot, wanted?: string): Promise<LabKernel> {
  let candidate = await resolveKernel(root, wanted)
  const build = async (folder: string, { release }: Candidate): Promise<void> => {
    const image = await packageField(root, `linux-image-${release}:arm64`, 'Depends')
    const split = image.includes(`linux-binary-${release}`)
    const files = await unpackPackages(root, [`linux-${split ? 'binary' : 'image'}-${release}:arm64`], folder)
    renameSync(
      join(files, split ? `usr/lib/modules/${release}/vmlinuz` : `boot/vmlinuz-${release}`),
      join(folder, 'vmlinuz'),
    )
    rmSync(files, { recursive: true })
    writeFileSync(join(folder, 'release'), `${release}\n`)
  }
  const artefact = (chosen: Candidate): Promise<string> =>
    root.cache.artefact(`kernel-${chosen.release}`, { ...chosen, root: root.key }, (folder) =>
      build(folder, chosen),
    )
  let folder: string
  try {
    folder = await artefact(candidate)
  } catch (error) {
    // The archive keeps only the newest backport: by the fresh lists of the second try it may have another name.
    const first = candidate
    candidate = await resolveKernel(root, wanted)
    if (candidate.release === first.release) throw error
    folder = await artefact(candidate)
  }
  return {
    ...candidate,
    image: join(folder, 'vmlinuz'),
    handsSeaToVmm: isAtLeast(candidate.release, FIRST_WITH_SEA),
  }
}

async function resolveKernel(root: ToolRoot, wanted: string | undefined): Promise<Candidate> {
  const madison = await root.run('apt-cache', ['madison', META_PACKAGE])
  const versions = [...new Set(madison.split('\n').map((line) => line.split('|')[1]?.trim() ?? ''))].filter(
    Boolean,
  )
  const packageVersion = versions.find(
    (version) => wanted === undefined || `${version}.`.startsWith(`${wanted}.`),
  )
  if (packageVersion === undefined) {
    throw new LabError(
      'kernel-not-found',
      `Expected a kernel ${wanted ?? ''} for the lab but the archive has ${versions.join(', ') || 'none'}`,
    )
  }
  const depends = await packageField(root, `${META_PACKAGE}=${packageVersion}`, 'Depends')
  const release = /\blinux-image-(\d[^ ]*)/.exec(depends)?.[1]
  if (release === undefined) {
    throw new LabError(
      'kernel-not-found',
      `Expected ${META_PACKAGE} to depend on a kernel image but received: ${depends}`,
    )
  }
  if (wanted === undefined && !isAtLeast(release, FIRST_WITH_SEA)) {
    throw new LabError(
      'kernel-too-old',
      `Expected Linux >= ${FIRST_WITH_SEA.join('.')} for the lab's default kernel but received ${release}. ` +
        'Older kernels cannot hand a synchronous external abort to the VMM; ask for one by name to test that.',
    )
  }
  return { packageVersion, release }
}

function isAtLeast(release: string, [wantedMajor, wantedMinor]: readonly [number, number]): boolean {
  const [major = 0, minor = 0] = release.split('.').map((part) => Number.parseInt(part, 10))
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)
}
