import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { unpackPackages } from './packages.ts'
import type { ToolRoot } from './tool-root.ts'

/** A program that reads what the project writes, and is no part of the lab itself. */
export interface DebianProgram {
  readonly name: string
  /** Its package, and those of the libraries that it needs besides the C library. */
  readonly packages: readonly string[]
}

/** `dtc`, which reads device trees. */
export const deviceTreeCompiler: DebianProgram = {
  name: 'dtc',
  packages: ['device-tree-compiler', 'libfdt1', 'libyaml-0-2'],
}

/** `iasl`, which reads ACPI tables. */
export const acpiCompiler: DebianProgram = { name: 'iasl', packages: ['acpica-tools'] }

/** Makes a program of Debian's release for this machine, started through the root's own dynamic loader. Returns its path. */
export async function makeDebianProgram(root: ToolRoot, { name, packages }: DebianProgram): Promise<string> {
  const [machine, loader] =
    process.arch === 'arm64' ? ['aarch64', 'ld-linux-aarch64.so.1'] : ['x86_64', 'ld-linux-x86-64.so.2']
  const inputs = { packages, machine, root: root.key, format: 1 }
  const folder = await root.cache.artefact(name, inputs, async (into) => {
    await unpackPackages(root, packages, into)
    const libraries = `usr/lib/${machine}-linux-gnu`
    const script = `#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
root=$here/../${root.key}/${libraries}
exec "$root/${loader}" --library-path "$here/files/${libraries}:$root" "$here/files/usr/bin/${name}" "$@"
`
    writeFileSync(join(into, name), script)
    chmodSync(join(into, name), 0o755)
  })
  return join(folder, name)
}
