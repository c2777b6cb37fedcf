import { cpSync } from 'node:fs'
import { join } from 'node:path'
import type { CargoWorkspace } from './cargo.ts'
import type { ToolRoot } from './tool-root.ts'
import type { Zig } from './zig.ts'

/** The oldest glibc that the released addons run on: that of Debian 10 and of RHEL 8. */
export const GLIBC_FLOOR = '2.28'

/** A platform that the tool root can build a released addon for. */
export type ReleasePlatform = 'linux-arm64-gnu' | 'linux-x64-gnu'

const TRIPLES: Record<ReleasePlatform, string> = {
  'linux-arm64-gnu': 'aarch64-unknown-linux-gnu',
  'linux-x64-gnu': 'x86_64-unknown-linux-gnu',
}

/** What this machine's tool root builds for: Debian has the standard library for x86-64 on x86-64 alone. */
export function releasePlatforms(): ReleasePlatform[] {
  return process.arch === 'x64' ? ['linux-arm64-gnu', 'linux-x64-gnu'] : ['linux-arm64-gnu']
}

/** Builds the addon that users get, linked against glibc {@link GLIBC_FLOOR}, and returns its path. */
export async function makeReleaseAddon(
  root: ToolRoot,
  workspace: CargoWorkspace,
  zig: Zig,
  platform: ReleasePlatform,
): Promise<string> {
  const triple = TRIPLES[platform]
  const inputs = { sources: workspace.fingerprint(), root: root.key, zig: zig.key, GLIBC_FLOOR, format: 1 }
  const file = `seawall.${platform}.node`
  const folder = await root.cache.artefact(`release-addon-${platform}`, inputs, async (into) => {
    const target = ['--target', `${triple}.${GLIBC_FLOOR}`]
    await workspace.zigbuild(zig, ['--release', '--locked', '--package', 'seawall-napi', ...target])
    cpSync(join(workspace.zigTarget, triple, 'release', 'libseawall_napi.so'), join(into, file))
  })
  return join(folder, file)
}
