import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** Bytes per MiB. */
export const MIB = 2 ** 20

/** The threads of virtual machines that this process has. */
export function vmThreads(): string[] {
  const names = readdirSync('/proc/self/task').map((id) => {
    try {
      return readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim()
    } catch {
      // It has ended meanwhile.
      return ''
    }
  })
  return names.filter((name) => /^(vcpu-|vm-control)/.test(name))
}

/** How many file descriptors this process has open. */
export function openFiles(): number {
  return readdirSync('/proc/self/fd').length
}

/** Collects garbage; the process was started with `--expose-gc`. */
export function collectGarbage(): void {
  if (globalThis.gc === undefined) throw new Error('Expected node --expose-gc')
  globalThis.gc()
}

/** Memory in use, in bytes, without garbage. */
export async function memoryInUse(): Promise<{ rss: number; external: number; heapUsed: number }> {
  for (let round = 0; round < 3; round += 1) {
    collectGarbage()
    await sleep(1)
  }
  const { rss, external, heapUsed } = process.memoryUsage()
  return { rss, external, heapUsed }
}

/** Waits until it is so; throws where it is not within 20 seconds. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`${what}: not within 20 seconds`)
    await sleep(1)
  }
}
