import { type BenchPart, type Measurement, measurement } from './measurement.ts'
import { Instructions } from './vcpu-path/instructions.ts'
import { runTurns } from './vcpu-path/run-turns.ts'

const TIMES = 500
const ROUNDS = 4

/** What a vCPU's thread does, compared with a loop in C. */
export const vcpuPath: BenchPart = {
  name: 'vcpu-path',
  describe:
    'Instructions of one round trip, from the guest’s access to its next instruction, kernel and guest included; counted by ' +
    'the guest itself in the lab, where every instruction takes one nanosecond. The loop in C of bench/reference runs the ' +
    'same guest in turns with Seawall, in one boot. Medians.',
  async run(): Promise<Measurement[]> {
    const modes = ['least', 'same', 'first', 'mmio-read', 'mmio-write']
    const counted = new Instructions(await runTurns({ times: TIMES, rounds: ROUNDS, modes }))
    const against = (name: string, mode: string, reference: string, what: string, target?: number) =>
      measurement({
        name,
        value: counted.median('seawall', mode),
        unit: 'instructions',
        reference: { name: what, value: counted.median('c', reference) },
        ...(target === undefined ? {} : { target }),
      })
    return [
      against('repeated memory error', 'same', 'same', 'the same system calls in C', 1.03),
      against('repeated memory error', 'same', 'least', 'the fewest system calls in C', 1.1),
      against('first memory error of a page', 'first', 'first', 'the same in C'),
      against('load from a device', 'mmio-read', 'mmio-read', 'the same in C', 1.02),
      against('store to a device', 'mmio-write', 'mmio-write', 'the same in C', 1.02),
    ]
  },
}
