import { readFileSync } from 'node:fs'
import { simulated, Vm } from 'seawall'
import { type BenchPart, type Measurement, measurement } from './measurement.ts'
import { median, scaled } from './numbers.ts'
import { collectGarbage, openFiles, until, vmThreads } from './soak/process-state.ts'

const VMS = 64
const KIB = 1024

/** VMs that do nothing, and what is left when they are closed. */
export const idleVm: BenchPart = {
  name: 'idle-vm',
  describe:
    `What a VM costs that was started and does nothing, beyond guest RAM: the growth of the resident memory of the process ` +
    `(RssAnon and RssFile) over ${VMS} VMs of 2 MiB, per VM. And what is there when all are closed that was not there before.`,
  async run(scale) {
    const vms = scaled(VMS, scale, 4)
    // What is made once for all VMs is there, and the allocator has its size.
    for (let round = 0; round < 2; round += 1) await cycle(vms, 4)
    await settled()
    const start = { files: openFiles(), threads: vmThreads().length }
    const rows: Measurement[] = []
    for (const vcpus of [1, 4]) {
      const { perVm, createMs, closeMs } = await cycle(vms, vcpus)
      const of = `of ${vcpus} vCPU${vcpus === 1 ? '' : 's'}`
      rows.push(
        measurement({ name: `memory of an idle VM ${of}`, value: perVm / KIB, unit: 'KiB', target: 256 }),
      )
      rows.push(measurement({ name: `create and start a VM ${of}`, value: createMs, unit: 'ms' }))
      rows.push(measurement({ name: `close a VM ${of}`, value: closeMs, unit: 'ms' }))
    }
    await settled()
    const left = { files: openFiles() - start.files, threads: vmThreads().length - start.threads }
    rows.push(
      measurement({ name: 'file descriptors left over', value: left.files, unit: 'files', target: 0 }),
    )
    rows.push(measurement({ name: 'threads left over', value: left.threads, unit: 'threads', target: 0 }))
    return rows
  },
}

async function cycle(
  vms: number,
  vcpus: number,
): Promise<{ perVm: number; createMs: number; closeMs: number }> {
  const script = Array.from({ length: vcpus }, () => [{ step: 'spin' } as const])
  collectGarbage()
  const before = ownMemory()
  const machines: Vm[] = []
  const creating: number[] = []
  for (let count = 0; count < vms; count += 1) {
    const began = performance.now()
    const vm = await Vm.create({
      memory: 2 ** 21,
      vcpus,
      boot: { type: 'flat', image: new Uint8Array(4) },
      backend: simulated({ script }),
    })
    await vm.start()
    creating.push(performance.now() - began)
    machines.push(vm)
  }
  collectGarbage()
  const perVm = (ownMemory() - before) / vms
  const closing: number[] = []
  for (const vm of machines) {
    const began = performance.now()
    await vm.close()
    closing.push(performance.now() - began)
  }
  return { perVm, createMs: median(creating), closeMs: median(closing) }
}

async function settled(): Promise<void> {
  collectGarbage()
  await until('the threads of closed VMs', () => vmThreads().length === 0)
}

/** Resident memory that is not shared, as guest RAM is; in bytes. */
function ownMemory(): number {
  const status = readFileSync('/proc/self/status', 'utf8')
  const value = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * KIB
  return value('RssAnon') + value('RssFile')
}
