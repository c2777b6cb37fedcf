import { mkdirSync, rmSync } from 'node:fs'
import { run } from './command.ts'
import { LabError } from './errors.ts'
import { requireHostTools } from './host-tools.ts'
import { findMirror } from './mirror.ts'
import { say } from './progress.ts'

/** A Debian root to be made. */
export interface Bootstrap {
  /** The release, and what is added to it. */
  readonly suites: readonly [release: string, addition: string]
  /** The first is the machine's own. */
  readonly architectures: readonly string[]
  readonly packages: readonly string[]
}

/** Makes a Debian root in the empty `folder`, with its package lists left in. Signatures are always checked. */
export async function bootstrap(
  folder: string,
  { suites, architectures, packages }: Bootstrap,
): Promise<void> {
  await requireHostTools()
  const { uri, aptOptions } = await findMirror()
  const root = process.getuid?.() === 0
  // In unshare mode the owners are ids that only a namespace has; a tar archive carries them out of it.
  const target = root ? folder : `${folder}.tar`
  const args = [
    `--mode=${root ? 'root' : 'unshare'}`,
    `--format=${root ? 'directory' : 'tar'}`,
    '--variant=apt',
    `--architectures=${architectures.join(',')}`,
    `--include=${packages.join(',')}`,
    '--skip=cleanup/apt/lists',
    '--aptopt=Acquire::Languages "none"',
    ...aptOptions.map((line) => `--aptopt=${line}`),
    ...(uri === null ? [`--setup-hook=${addSuiteHook(suites[1])}`] : []),
    suites[0],
    target,
    ...(uri === null ? [] : suites.map((suite) => `deb ${uri} ${suite} main`)),
  ]
  try {
    await run('mmdebstrap', args, { loud: true }).catch(async () => {
      say('mmdebstrap failed, trying once more')
      rmSync(target, { recursive: true, force: true })
      if (root) mkdirSync(folder)
      await run('mmdebstrap', args, { loud: true })
    })
    if (!root) await run('tar', ['-C', folder, '--exclude=./dev/*', '-xf', target])
  } catch (cause) {
    throw new LabError(
      'download-failed',
      'Expected mmdebstrap to make the tool root but it failed twice, for the reasons above. When that is a ' +
        'signature, this machine needs a newer debian-archive-keyring.',
      { cause },
    )
  } finally {
    if (!root) rmSync(target, { force: true })
  }
}

// Without a mirror on its command line mmdebstrap takes Debian's own, but only the release.
function addSuiteHook(suite: string): string {
  return (
    'archive=$(grep -rohE "https?://[^ ]+" "$1/etc/apt/" | head -n 1) && ' +
    `echo "deb $archive ${suite} main" >"$1/etc/apt/sources.list.d/${suite}.list"`
  )
}
