import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { type CargoWorkspace, RUST_TARGET } from './cargo.ts'
import type { LabFile } from './project-archive.ts'
import type { ToolRoot } from './tool-root.ts'

/** The addon's file name for arm64 Linux, in `native/` of the project. */
export const ADDON_FILE = 'seawall.linux-arm64-gnu.node'

/** Builds the addon for arm64 and returns its path. */
export async function makeAddon(root: ToolRoot, workspace: CargoWorkspace): Promise<string> {
  const inputs = { sources: workspace.fingerprint(), root: root.key, format: 1 }
  const folder = await root.cache.artefact('addon-arm64', inputs, async (into) => {
    await workspace.run(['build', '--release', '--package', 'seawall-napi', '--target', RUST_TARGET], {
      loud: true,
    })
    cpSync(join(workspace.target, RUST_TARGET, 'release', 'libseawall_napi.so'), join(into, ADDON_FILE))
  })
  return join(folder, ADDON_FILE)
}

/**
 * The addon's loader, for a run in the lab: `npm run build` makes one that chooses among platforms, and a clone in which
 * nothing was built has none.
 */
export const ADDON_LOADER: LabFile = {
  path: 'native/index.cjs',
  content: Buffer.from(`module.exports = require('./${ADDON_FILE}')\n`),
}
