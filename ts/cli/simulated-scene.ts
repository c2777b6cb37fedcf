import type { VmOptions } from '../options.ts'
import { type SimulatedStep, simulated } from '../simulated.ts'

/** Time to look at each error, in microseconds. */
const PAUSE: SimulatedStep = { step: 'run', us: 1_000_000 }
/** Where the applications' code is, and an instruction of the guest's kernel. */
const APPLICATION_PC = 0xaaaa_b640_0b2cn
const KERNEL_PC = 0xffff_8000_8001_0a3cn
/** EL1h with interrupts masked, in SPSR format. */
const KERNEL_PSTATE = 0x3c5n
/** A page that is hit twice. */
const AGAIN = 0x8420_3000n

/** What the guest of `seawall run --simulated` is, beside what the command line says of it. */
export const SIMULATED_GUEST = {
  name: 'simulated guest',
  memory: 256 * 2 ** 20,
  vcpus: 2,
  // The script is all that runs.
  boot: { type: 'flat', image: new Uint8Array(4) },
} as const satisfies Partial<VmOptions>

/** A guest that meets a memory error of each kind that it can live with, on two vCPUs, and then shuts down. */
export function simulatedScene() {
  return simulated({
    script: [
      [
        print('guest: applications run on 2 vCPUs, in 256 MiB of memory'),
        PAUSE,
        lost(AGAIN, { esr: 0x9200_0010n, far: 0xffff_9c20_3018n }),
        print('guest: application 1 was loading: SIGBUS, ESR_EL1={esr_el1} FAR_EL1={far_el1}'),
        PAUSE,
        PAUSE,
        lost(0x8c50_0000n, { esr: 0x8200_0010n, far: 0xaaaa_b650_0000n, pc: 0xaaaa_b650_0000n }),
        print('guest: application 3 was fetching an instruction: SIGBUS, ESR_EL1={esr_el1}'),
        PAUSE,
        PAUSE,
        lost(AGAIN, { esr: 0x9200_0010n, far: 0xffff_9c20_3020n }),
        print('guest: application 5 was given the page of application 1: SIGBUS from its quarantine'),
        PAUSE,
        PAUSE,
        { step: 'mmio-read', gpa: 0x1000_0000n, size: 4 },
        print('guest: a driver has read a device that is not there'),
        PAUSE,
        print('guest: shuts down'),
        { step: 'shutdown' },
      ],
      [
        PAUSE,
        PAUSE,
        lost(0x8917_4000n, { esr: 0x9200_1850n, far: 0xffff_a117_4a40n }),
        print('guest: application 2 was storing: SIGBUS, ESR_EL1={esr_el1} FAR_EL1={far_el1}'),
        PAUSE,
        PAUSE,
        lost(null, { esr: 0x9200_0617n }),
        print('guest: application 4 had its page table hit, and nobody knows which page that is: SIGBUS'),
        PAUSE,
        PAUSE,
        lost(0x8e00_8000n, {
          esr: 0x9200_0010n,
          far: 0xffff_8000_0e00_8000n,
          pc: KERNEL_PC,
          pstate: KERNEL_PSTATE,
        }),
        print('guest: the kernel was loading, and could do without'),
        { step: 'spin' },
      ],
    ],
  })
}

function print(text: string): SimulatedStep {
  return { step: 'print', text: `${text}\n` }
}

/** A memory error in a page, or in one that the processor does not know. */
function lost(
  page: bigint | null,
  access: { esr: bigint; far?: bigint; pc?: bigint; pstate?: bigint },
): SimulatedStep {
  return { step: 'sea', gpa: page, pc: APPLICATION_PC, ...access }
}
