import { join } from 'node:path'
import { makeBaseArchive } from './base-archive.ts'
import { Cache } from './cache.ts'
import { type LabKernel, makeKernel } from './kernel.ts'
import { makeNodeRuntime } from './node-runtime.ts'
import { findProjectRoot } from './project.ts'
import { Qemu } from './qemu.ts'
import { makeToolRoot } from './tool-root.ts'

export interface Lab { cache: Cache; kernel: LabKernel; qemu: Qemu; base: string }
export async function setUpLab(options: { kernel?: string } = {}): Promise<Lab> {
  const cache = new Cache()
  const root = await makeToolRoot(cache)
  const kernel = await makeKernel(root, options.kernel)
  const node = await makeNodeRuntime(cache)
  const base = await makeBaseArchive(root, node, join(findProjectRoot(), 'lab/init'))
  return { cache, kernel, qemu: new Qemu(root), base }
}
