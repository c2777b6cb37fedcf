import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { unpackPackages } from './packages.ts'
import type { ToolRoot } from './tool-root.ts'

const PACKAGES = ['device-tree-compiler', 'libfdt1', 'libyaml-0-2']

/** Makes `dtc` of Debian's release for this machine, started through the root's own dynamic loader. Returns its path. */
export async function makeDeviceTreeCompiler(root: ToolRoot): Promise<string> {
  const [machine, loader] =
    process.arch === 'arm64' ? ['aarch64', 'ld-linux-aarch64.so.1'] : ['x86_64', 'ld-linux-x86-64.so.2']
  const inputs = { packages: PACKAGES, machine, root: root.key, format: 1 }
  const folder = await root.cache.artefact('device-tree-compiler', inputs, async (into) => {
    await unpackPackages(root, PACKAGES, into)
    const libraries = `usr/lib/${machine}-linux-gnu`
    const script = `#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
root=$here/../${root.key}/${libraries}
exec "$root/${loader}" --library-path "$here/files/${libraries}:$root" "$here/files/usr/bin/dtc" "$@"
`
    writeFileSync(join(into, 'dtc'), script)
    chmodSync(join(into, 'dtc'), 0o755)
  })
  return join(folder, 'dtc')
}
