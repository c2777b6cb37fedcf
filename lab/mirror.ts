import { attempt } from './command.ts'

/** Where Debian comes from and how apt on this machine is told to fetch it. */
export interface Mirror {
  /** Address of the archive; null leaves the choice to mmdebstrap. */
  readonly uri: string | null
  /** Lines of apt configuration that the lab's own apt inherits. */
  readonly aptOptions: readonly string[]
}

/** Finds the mirror: `$SEAWALL_DEBIAN_MIRROR`, else the Debian archive this machine's apt uses, else mmdebstrap's own. */
export async function findMirror(): Promise<Mirror> {
  const { SEAWALL_DEBIAN_MIRROR: chosen } = process.env
  return {
    uri: chosen || (await debianArchiveOfThisMachine()),
    aptOptions: await inheritedAptOptions(),
  }
}

async function debianArchiveOfThisMachine(): Promise<string | null> {
  const targets = await attempt('apt-get', [
    'indextargets',
    '--format',
    '$(ORIGIN)|$(LABEL)|$(REPO_URI)',
    'Created-By: Packages',
  ]).catch(() => null)
  for (const line of targets?.stdout.split('\n') ?? []) {
    const [origin, label, uri] = line.split('|')
    // Debian-Security has its own label, and holds no whole release.
    if (origin === 'Debian' && label === 'Debian' && uri !== undefined && /^https?:/.test(uri)) return uri
  }
  return null
}

/** Proxies, retries and date checks are the administrator's decisions about this machine's network and clock. */
async function inheritedAptOptions(): Promise<string[]> {
  const dump = await attempt('apt-config', ['dump']).catch(() => null)
  return (dump?.stdout.split('\n') ?? []).filter((line) =>
    /^Acquire::(http|https|Retries|Check-Date|Check-Valid-Until)\b.* ".+";$/.test(line),
  )
}
