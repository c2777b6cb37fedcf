import { decideLatency } from './decide-latency.ts'
import { delivery } from './delivery.ts'
import { idleVm } from './idle-vm.ts'
import { importTime } from './import.ts'
import { linuxBoot } from './linux-boot.ts'
import type { BenchPart } from './measurement.ts'
import { scale } from './scale.ts'
import { vcpuPath } from './vcpu-path.ts'

/** The parts of `npm run bench`, in the order of the document. */
export const parts: readonly BenchPart[] = [
  vcpuPath,
  linuxBoot,
  decideLatency,
  delivery,
  scale,
  idleVm,
  importTime,
]
