import { type BenchPart, type MeasuredElsewhere, type Measurement, measurement } from './measurement.ts'
import { scaled } from './numbers.ts'
import { FINDINGS } from './vcpu-path/findings.ts'
import { Instructions } from './vcpu-path/instructions.ts'
import { runTurns } from './vcpu-path/run-turns.ts'

const TIMES = 500
const ROUNDS = 4
const MODES = [
  'least',
  'same',
  'first',
  'told',
  'mmio-read',
  'mmio-read-lost',
  'mmio-write',
  'echo',
  'decide',
]
/** The guest's counter counts 16 instructions at once: a tick of a trip through the kernel. */
const A_TICK = 1.002

/** What a vCPU's thread does, compared with a loop in C. */
export const vcpuPath: BenchPart = {
  name: 'vcpu-path',
  describe:
    'Instructions of one round trip, from the guest’s access to its next instruction, kernel and guest included; counted by ' +
    'the guest itself in the lab, where every instruction takes one nanosecond. The loop in C of bench/reference runs the ' +
    'same guest in turns with Seawall, in one boot. Medians.',
  findings: FINDINGS,
  async run(scale): Promise<MeasuredElsewhere> {
    const rounds = scaled(ROUNDS, scale)
    const { host, turns } = await runTurns({ times: scaled(TIMES, scale, 50), rounds, modes: MODES })
    const counted = new Instructions(turns)
    const calls = (name: string, mode: string) => {
      const reference = { name: 'in C', value: counted.callsOf('c', mode) }
      return measurement({
        name,
        value: counted.callsOf('seawall', mode),
        unit: 'calls',
        reference,
        target: 1,
      })
    }
    const row = (name: string, value: number, reference: Measurement['reference'], target?: number) =>
      measurement({
        name,
        value,
        unit: 'instructions',
        ...(reference === undefined ? {} : { reference }),
        ...(target === undefined ? {} : { target }),
      })
    const beside = (name: string, mode: string, inC: string, what: string, target?: number) =>
      row(name, counted.of('seawall', mode), { name: what, value: counted.of('c', inC) }, target)
    const native = counted.of('seawall', 'same')
    const load = counted.of('seawall', 'mmio-read')
    const measurements = [
      beside('repeated memory error', 'same', 'same', 'the same system calls in C', 1.03),
      beside('repeated memory error, once more', 'same', 'least', 'the fewest system calls in C', 1.1),
      calls('its system calls', 'same'),
      beside('first memory error of a page, with quarantine', 'first', 'first', 'the same system calls in C'),
      calls('the system calls of that', 'first'),
      beside('first memory error of a page, with everything on', 'told', 'told', 'the same in C'),
      calls('the system calls of that, with everything on', 'told'),
      beside('load from a device', 'mmio-read', 'mmio-read', 'the same in C', 1.02),
      beside('store to a device', 'mmio-write', 'mmio-write', 'the same in C', 1.02),
      row(
        'load from a device, with 100 lost pages',
        counted.of('seawall', 'mmio-read-lost'),
        { name: 'with none', value: load },
        A_TICK,
      ),
      row('what `decide` adds to a memory error', counted.of('seawall', 'decide') - native, {
        name: 'ThreadsafeFunction echo in C',
        value: counted.ofNanoseconds('c', 'echo'),
      }),
    ]
    return { host, measurements }
  },
}
