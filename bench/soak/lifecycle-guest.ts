import { type SimulatedStep, simulated, Vm, type VmOptions } from 'seawall'

/** A page of the guest's. */
export const PAGE = 0x8000_1000n
/** Consumes an error there. */
export const TOUCH: SimulatedStep = { step: 'sea', esr: 0x9200_0010n, far: PAGE, gpa: PAGE }
export const SPIN: SimulatedStep = { step: 'spin' }

/** Creates a simulated guest with these steps for each vCPU. */
export async function createGuest(
  script: readonly (readonly SimulatedStep[])[],
  options: Partial<VmOptions> = {},
): Promise<Vm> {
  return await Vm.create({
    memory: 2 ** 20,
    vcpus: script.length,
    boot: { type: 'flat', image: new Uint8Array(4) },
    backend: simulated({ script }),
    ...options,
  })
}

/** Waits for a promise; throws where it is not settled within 10 seconds. */
export async function settled<T>(what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not settled within 10 seconds`)), 10_000)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
