import { join } from 'node:path'
import { ADDON_LOADER } from '../lab/addon.ts'
import { runInLab, setUpLab } from '../lab/lab.ts'
import { labHost } from './lab-host.ts'
import type { Mark } from './linux-boot/in-lab.ts'
import { type BenchPart, type MeasuredElsewhere, measurement } from './measurement.ts'
import { median, scaled } from './numbers.ts'

const BOOTS = 3
/** For all boots, in which every instruction is emulated and counted. */
const LIMIT_MS = 40 * 60_000

const PHASES: readonly [Mark['name'], string][] = [
  ['created', 'Vm.create: kernel, initial RAM disk, ACPI tables and device tree in guest RAM'],
  ['kernel', 'start to the kernel’s last word before it runs /init'],
  ['userspace', '/init to its first word'],
]

/** How long a Linux guest takes to userspace. */
export const linuxBoot: BenchPart = {
  name: 'linux-boot',
  describe:
    'How long a Linux guest boots on one vCPU with 256 MiB, in the lab, where every instruction takes one nanosecond and ' +
    'nothing else takes any: those of Seawall, of KVM and of the guest, and the time in which all of them wait. The guest ' +
    'prints its messages on the console. It is Debian’s cloud kernel and the initial RAM disk of lab/linux-guest. Medians of ' +
    `${BOOTS} boots in one process; there is nothing to compare it with.`,
  findings:
    'Vm.create became faster by copying 16 bytes at a time to guest RAM, and by reading each file into room of its size: 437 ' +
    'ms before and 312 ms now for the first boot of a process. **Before** is one first boot; of three in a row the later ones ' +
    'find the host’s memory in use before, and take less.\n\n' +
    '**Why /init to its first word takes from 12 to 36 ms.** The guest is not slower in one run: a phase ends when JavaScript reads of ' +
    'it, and JavaScript shares the one processor with the vCPU. Of three boots in a row the first one’s two last words came in ' +
    'one piece, 0.1 ms and no exit apart, and those of the others 28 ms and 86 exits apart. The last two phases together say ' +
    'how long a boot takes: 1,261 ms before, 1,262 ms now; 1,310, 1,256 and 1,272 in those three.',
  async run(scale): Promise<MeasuredElsewhere> {
    const { host, boots } = await runBoots(scaled(BOOTS, scale))
    const at = (name: Mark['name'], of: 'ns' | 'exits') =>
      median(boots.map((marks) => marks.find((mark) => mark.name === name)?.[of] ?? Number.NaN))
    let before = { ns: 0, exits: 0 }
    const measurements = PHASES.map(([mark, name]) => {
      const end = { ns: at(mark, 'ns'), exits: at(mark, 'exits') }
      const value = (end.ns - before.ns) / 1e6
      const note = `${end.exits - before.exits} exits to Seawall.`
      before = end
      return measurement({ name, value, unit: 'ms', note })
    })
    return { host, measurements }
  },
}

async function runBoots(count: number): Promise<{ host: string; boots: Mark[][] }> {
  const result = await runInLab(await setUpLab(), {
    command: ['node', join('build', 'bench', 'linux-boot', 'in-lab.js'), String(count)],
    files: [ADDON_LOADER],
    icount: true,
    timeoutMs: LIMIT_MS,
  })
  const { exitCode, stdout, stderr } = result
  if (exitCode !== 0) throw new Error(`Expected exit code 0 in the lab but received ${exitCode}:\n${stderr}`)
  return { host: labHost(result, true), boots: JSON.parse(stdout) as Mark[][] }
}
