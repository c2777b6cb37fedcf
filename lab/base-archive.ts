import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { CpioWriter } from './cpio.ts'
import { fingerprintFiles } from './fingerprint.ts'
import { unpackPackages } from './packages.ts'
import type { ToolRoot } from './tool-root.ts'

// Node 26 for arm64 needs libatomic.
const PACKAGES = [
  'busybox-static:arm64',
  'libatomic1:arm64',
  'libc6:arm64',
  'libgcc-s1:arm64',
  'libstdc++6:arm64',
]
const LIBRARIES =
  /^(ld-linux-aarch64\.so\.1|lib(c|m|dl|pthread|rt)\.so\.\d+|libatomic\.so\.1|libgcc_s\.so\.1|libstdc\+\+\.so\.6)$/

/** Makes the part of the initramfs that no project and no kernel changes: busybox, Node, its libraries, init. */
export async function makeBaseArchive(root: ToolRoot, node: string, initFolder: string): Promise<string> {
  const init = join(initFolder, 'init.sh')
  const inputs = { PACKAGES, node, init: fingerprintFiles(initFolder, [init]), root: root.key, format: 2 }
  const folder = await root.cache.artefact('base-archive', inputs, async (into) => {
    const files = await unpackPackages(root, PACKAGES, into)
    const archive = new CpioWriter(join(into, 'base.cpio'))
    for (const name of ['dev', 'proc', 'sys', 'tmp', 'root', 'lab']) archive.folder(name)
    archive.copy('init', init, 0o755)
    archive.copy('bin/busybox', join(files, 'usr/bin/busybox'), 0o755)
    archive.copy('bin/node', node, 0o755)
    const libraries = join(files, 'usr/lib/aarch64-linux-gnu')
    for (const name of readdirSync(libraries).filter((entry) => LIBRARIES.test(entry))) {
      archive.copy(`lib/aarch64-linux-gnu/${name}`, join(libraries, name), 0o755)
    }
    archive.link('lib/ld-linux-aarch64.so.1', 'aarch64-linux-gnu/ld-linux-aarch64.so.1')
    archive.link('usr/bin', '../bin')
    // os.userInfo() and `localhost` work.
    archive.file('etc/passwd', Buffer.from('root:x:0:0:root:/root:/bin/sh\n'))
    archive.file('etc/group', Buffer.from('root:x:0:\n'))
    archive.file('etc/hosts', Buffer.from('127.0.0.1 localhost\n::1 localhost\n'))
    archive.close()
    rmSync(files, { recursive: true })
  })
  return join(folder, 'base.cpio')
}
