import { type MemoryFailurePolicy, type SimulatedStep, simulated, Vm } from 'seawall'
import type { Scale } from './trial.ts'

/** How many vCPUs storm. */
export const VCPUS = 4
/** The page that they touch. */
export const POISON = 0x8010_0000n
/** More than any storm injects in a row: the row is the storm. */
const NO_LIMIT = 1_000_000

/** Creates a guest that does nothing but touch poison on 4 vCPUs, `size` times in all; then it waits. */
export async function createStorm(
  { size, backend }: Scale,
  memoryFailure: MemoryFailurePolicy = {},
): Promise<Vm> {
  const common = {
    memory: 4 * 2 ** 20,
    vcpus: VCPUS,
    memoryFailure: { sameFaultLimit: NO_LIMIT, ...memoryFailure },
  }
  if (backend === 'simulated') {
    const touch: SimulatedStep = { step: 'sea', esr: 0x9200_0010n, far: POISON, gpa: POISON }
    const steps: SimulatedStep[] = [...Array<SimulatedStep>(size / VCPUS).fill(touch), { step: 'spin' }]
    const script = Array<SimulatedStep[]>(VCPUS).fill(steps)
    const boot = { type: 'flat', image: new Uint8Array(4) } as const
    return await Vm.create({ ...common, boot, backend: simulated({ script }) })
  }
  const boot = { type: 'flat', image: 'build/guests/storm.bin' } as const
  const vm = await Vm.create({ ...common, boot })
  await vm.vcpus[0]?.setRegister('x0', BigInt(size / VCPUS))
  await vm.vcpus[0]?.setRegister('x2', BigInt(VCPUS))
  return vm
}
