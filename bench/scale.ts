import { readFileSync } from 'node:fs'
import { type SimulatedStep, simulated, Vm } from 'seawall'
import { type BenchPart, type Measurement, measurement } from './measurement.ts'
import { median, scaled } from './numbers.ts'

const SIZES = [1, 16, 64, 256]
const VCPUS = 4
const ROUNDS = 5
/** The rate of all VMs together. */
const EVENTS_PER_SECOND = 2048
const SECONDS = 2
const PAGE = 0x8010_0000n

/** Per second. */
interface Load {
  /** Nanoseconds of the JavaScript thread. */
  readonly script: number
  /** Nanoseconds of the whole process. */
  readonly process: number
  readonly events: number
}

/** Per event. */
interface Cost {
  readonly script: number
  readonly process: number
  /** Events per second, as they came. */
  readonly rate: number
}

/** The same events from more and more VMs. */
export const scale: BenchPart = {
  name: 'scale',
  describe:
    `What an event costs when ${SIZES.join(', ')} VMs of ${VCPUS} vCPUs each produce ${EVENTS_PER_SECOND} memory failures a ` +
    'second in all, evenly spread, each with a listener: processor time of the whole process, vCPU threads and all, and of ' +
    'the JavaScript thread alone, as the kernel accounts for it; less what the same VMs cost whose vCPUs sleep and wake at the ' +
    'same pace and lose nothing, for which the simulator has to answer. Compared with one VM in the same run.',
  findings: `All VMs of a process have one threadsafe function. With one for each, libuv looks at all of them whenever one is called. A VM
that has something to tell is put on a list, and the list is one wake-up; a turn of the event loop tells 64 events, whichever
VMs they are of. At this rate every event is a wake-up of its own, with one VM and with 256. The pace of the guests
counted in, an event took 36 µs in user mode and 16 in the kernel with one VM, 38 and 24 with 256: what many VMs add is nearly
all the kernel's, which wakes 1,024 threads in turn instead of four.`,
  async run(share) {
    const rounds = scaled(ROUNDS, share, 1)
    const sizes = share < 0.1 ? [1, 4] : SIZES
    const seconds = Math.max(0.1, SECONDS * Math.min(1, share * 5))
    const costs = new Map<number, Cost[]>(sizes.map((vms) => [vms, []]))
    await cost(1, Math.min(seconds, 0.5))
    for (let round = 0; round < rounds; round += 1) {
      for (const vms of sizes) costs.get(vms)?.push(await cost(vms, seconds))
    }
    return (['process', 'script'] as const).flatMap((kind) => rows(kind, costs))
  },
}

const NAMES = { process: 'the whole process', script: 'the JavaScript thread' } as const

function rows(kind: keyof typeof NAMES, costs: ReadonlyMap<number, readonly Cost[]>): Measurement[] {
  const of = (vms: number, what: keyof Cost) => median((costs.get(vms) ?? []).map((cost) => cost[what]))
  const middle = (vms: number) => of(vms, kind) / 1000
  const rate = (vms: number) => Math.round(of(vms, 'rate'))
  const reference = { name: '1 VM', value: middle(1) }
  return [...costs.keys()]
    .filter((vms) => vms > 1)
    .map((vms) => {
      const target = vms === SIZES.at(-1) ? { target: 1.2 } : {}
      return measurement({
        name: `${vms} VMs, ${NAMES[kind]}`,
        value: middle(vms),
        unit: 'µs/event',
        reference,
        ...target,
        note: `${rate(vms)} events a second came, and ${rate(1)} of one VM.`,
      })
    })
}

async function cost(vms: number, seconds: number): Promise<Cost> {
  const idle = await load(vms, seconds, false)
  const busy = await load(vms, seconds, true)
  if (busy.events === 0) throw new Error('Expected events but received none')
  const of = (kind: 'script' | 'process') => (busy[kind] - idle[kind]) / busy.events
  return { script: of('script'), process: of('process'), rate: busy.events }
}

/** Lets so many VMs run for a time, at the pace of the events, and says what that took; where `fails` is true, with events. */
async function load(vms: number, seconds: number, fails: boolean): Promise<Load> {
  const threads = vms * VCPUS
  const periodUs = Math.round((threads * 1e6) / EVENTS_PER_SECOND)
  // The first half second is for the threads to be there.
  const events = Math.ceil(((seconds + 0.5) * 1e6) / periodUs) + 1
  const touch: SimulatedStep = fails
    ? { step: 'sea', esr: 0x9200_0010n, far: PAGE, gpa: PAGE }
    : { step: 'set-register', name: 'x0', value: 0n }
  const once: SimulatedStep[] = [{ step: 'run', us: periodUs }, touch]
  const steps = Array<SimulatedStep[]>(events).fill(once).flat()
  let told = 0
  const machines: Vm[] = []
  for (let index = 0; index < vms; index += 1) {
    // Spread over the period.
    const script = Array.from({ length: VCPUS }, (_, vcpu): SimulatedStep[] => {
      const us = Math.max(1, Math.round((periodUs * (index * VCPUS + vcpu)) / threads))
      return [{ step: 'run', us }, ...steps, { step: 'spin' }]
    })
    const vm = await Vm.create({
      memory: 2 ** 21,
      vcpus: VCPUS,
      boot: { type: 'flat', image: new Uint8Array(4) },
      backend: simulated({ script }),
      memoryFailure: { quarantine: false, sameFaultLimit: 1_000_000 },
    })
    vm.on('memory-failure', () => {
      told += 1
    })
    machines.push(vm)
  }
  await Promise.all(machines.map((vm) => vm.start()))
  await new Promise((resolve) => setTimeout(resolve, 250))
  globalThis.gc?.()
  const before = { told, script: scriptTime(), usage: process.cpuUsage() }
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
  const { user, system } = process.cpuUsage(before.usage)
  const count = told - before.told
  const taken = scriptTime() - before.script
  await Promise.all(machines.map((vm) => vm.close()))
  const perSecond = (value: number) => value / seconds
  return {
    script: perSecond(taken),
    process: perSecond((user + system) * 1000),
    events: perSecond(count),
  }
}

/** How long the JavaScript thread ran on a processor, in nanoseconds. */
function scriptTime(): number {
  return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0])
}
