import { readFileSync } from 'node:fs'
import { type SimulatedStep, simulated, Vm } from 'seawall'
import { type BenchPart, type Measurement, measurement } from './measurement.ts'
import { median, scaled } from './numbers.ts'

const SIZES = [1, 16, 64, 256]
const VCPUS = 4
const ROUNDS = 12
/** The rate of all VMs together. */
const EVENTS_PER_SECOND = 2048
const SECONDS = 1
/** How far the rate of the events may be off, and how often a round is tried before it is given up. */
const MOST_OFF = 0.05
const ATTEMPTS = 5
const PAGE = 0x8010_0000n

/** Per second. */
interface Load {
  /** Nanoseconds of the JavaScript thread. */
  readonly script: number
  /** Nanoseconds of the whole process. */
  readonly process: number
  readonly events: number
  /** How often the JavaScript thread slept and was woken. */
  readonly wakeUps: number
}

/** Per event, in nanoseconds. */
interface Cost {
  readonly script: number
  readonly process: number
}

/** One round with so many VMs. */
interface Round {
  /** All that it took. */
  readonly all: Cost
  /** The same, less what the VMs took whose vCPUs slept and woke at the same pace and lost nothing. */
  readonly more: Cost
  /** Events per second, as they came. */
  readonly rate: number
  /** How often JavaScript was woken for each. */
  readonly wakeUps: number
}

/** The same events from more and more VMs. */
export const scale: BenchPart = {
  name: 'scale',
  describe:
    `What an event costs when ${SIZES.join(', ')} VMs of ${VCPUS} vCPUs each produce ${EVENTS_PER_SECOND} memory failures a ` +
    'second in all, each with a listener: processor time of the whole process, vCPU threads and all, and of the JavaScript ' +
    'thread alone, as the kernel accounts for it. Compared with one VM in the same run. The time from one event of a vCPU to ' +
    'its next is random (exponential), so that the events of four vCPUs and those of a thousand come alike. A round whose events ' +
    `come more than ${100 * MOST_OFF} % faster or slower than that is repeated at a corrected pace, and given up after ` +
    `${ATTEMPTS} attempts: what an event costs depends on how many share a wake-up.`,
  findings: `All VMs of a process have one threadsafe function. With one for each, libuv looks at all of them whenever one is called. A VM
that has something to tell is put on a list, and the list is one wake-up; a turn of the event loop tells 64 events, whichever
VMs they are of.

**What JavaScript's part was.** Until the events came at random times, a vCPU met one in every so many microseconds, and JavaScript
took 13 µs for an event of one VM and 19 for one of 256. The wake-ups of its thread say why: 0.5 to 0.6 an event with one VM, 0.8
to 0.9 with 256. Four vCPUs that sleep equally long fall into step, because sleeps that end nearly together are ended together, and
then two events share a wake-up; a thousand do not. With 256 VMs of which one alone loses pages there were as few wake-ups as with
one VM, and an event cost the same. At random times there are about 0.9 on both sides.

**What is left.** perf's profile of the JavaScript thread has the same functions with one VM and with 256: two fifths are the
kernel's, which puts the thread to sleep and wakes it, two fifths Node's, and 6 and 7 % the addon's. Those that touch a VM's own
objects grow: taking its events, and looking it up by its number. After 255 others they are in no cache any more. The rest of the
process is the kernel's, which wakes 1,024 threads in turn instead of four.

These processors run a third slower for seconds at a time, whatever they do. So a row is the middle of ${ROUNDS} rounds; of 5 it was 1.0
to 1.45.

**What was compared before.** The target was held to the rows without the guests, and nobody looked whether the events came: in
that recording 1,712 a second of one VM and 1,827 of 256, where 2,048 were meant to, because a vCPU's sleep ends late.`,
  async run(share) {
    const rounds = scaled(ROUNDS, share, 1)
    const short = share < 0.1
    const sizes = short ? [1, 4] : SIZES
    const seconds = Math.max(0.1, SECONDS * Math.min(1, share * 5))
    const measured = new Map<number, Round[]>(sizes.map((vms) => [vms, []]))
    await load(1, Math.min(seconds, 0.5), meanPeriod(1), true)
    for (let number = 0; number < rounds; number += 1) {
      // So few events as in the short form are never even.
      for (const vms of sizes) measured.get(vms)?.push(await round(vms, seconds, short ? Infinity : MOST_OFF))
    }
    return (['all', 'more'] as const).flatMap((what) =>
      (['process', 'script'] as const).flatMap((kind) => rows(what, kind, measured)),
    )
  },
}

const NAMES = { process: 'the whole process', script: 'the JavaScript thread' } as const

function rows(
  what: 'all' | 'more',
  kind: keyof Cost,
  measured: ReadonlyMap<number, readonly Round[]>,
): Measurement[] {
  const of = (vms: number, value: (round: Round) => number) => median((measured.get(vms) ?? []).map(value))
  const cost = (vms: number) => of(vms, (round) => round[what][kind]) / 1000
  const rate = (vms: number) => Math.round(of(vms, (round) => round.rate))
  const wakeUps = (vms: number) => of(vms, (round) => round.wakeUps).toFixed(2)
  const reference = { name: '1 VM', value: cost(1) }
  return [...measured.keys()]
    .filter((vms) => vms > 1)
    .map((vms) => {
      const name = `${vms} VMs, ${NAMES[kind]}`
      const common = { value: cost(vms), unit: 'µs/event', reference }
      const came =
        `${rate(vms)} events a second came, with ${wakeUps(vms)} wake-ups of JavaScript each; ${rate(1)} of one VM, ` +
        `with ${wakeUps(1)}.`
      if (what === 'more') return measurement({ ...common, name: `${name}, beyond its guests`, note: BEYOND })
      const target = vms === SIZES.at(-1) ? { target: 1.2 } : {}
      return measurement({ ...common, name: `${name}, guests and all`, ...target, note: came })
    })
}

const BEYOND =
  'less what the same VMs take whose vCPUs sleep and wake at the same pace and lose nothing, for which the simulator has to ' +
  'answer. A difference of two measurements, which varies more than either.'

/** How long each vCPU runs between two events on average, in microseconds, if nothing else took any time. */
function meanPeriod(vms: number): number {
  return Math.round((vms * VCPUS * 1e6) / EVENTS_PER_SECOND)
}

/** Measures so many VMs with events that come at the rate, and then without events at the same pace. */
async function round(vms: number, seconds: number, mostOff: number): Promise<Round> {
  const { busy, periodUs } = await atTheRate(vms, seconds, mostOff)
  const idle = await load(vms, seconds, periodUs, false)
  const cost = (of: (kind: keyof Cost) => number): Cost => ({
    script: of('script') / busy.events,
    process: of('process') / busy.events,
  })
  return {
    all: cost((kind) => busy[kind]),
    more: cost((kind) => busy[kind] - idle[kind]),
    rate: busy.events,
    wakeUps: busy.wakeUps / busy.events,
  }
}

async function atTheRate(
  vms: number,
  seconds: number,
  mostOff: number,
): Promise<{ busy: Load; periodUs: number }> {
  const seen: number[] = []
  for (let periodUs = meanPeriod(vms); seen.length < ATTEMPTS; ) {
    const busy = await load(vms, seconds, periodUs, true)
    if (busy.events === 0) throw new Error('Expected events but received none')
    const share = busy.events / EVENTS_PER_SECOND
    if (Math.abs(share - 1) <= mostOff) return { busy, periodUs }
    seen.push(Math.round(busy.events))
    // A vCPU's sleep ends late, and the later the busier the machine is.
    periodUs = Math.max(1, Math.round(periodUs * share))
  }
  throw new Error(
    `Expected ${EVENTS_PER_SECOND} events a second of ${vms} VMs, within ${100 * mostOff} %, but received ` +
      `${seen.join(', ')}: the machine is too busy to compare anything`,
  )
}

/** Lets so many VMs run for a time, each vCPU at that pace, and says what it took; where `fails` is true, with events. */
async function load(vms: number, seconds: number, periodUs: number, fails: boolean): Promise<Load> {
  const touch: SimulatedStep = fails
    ? { step: 'sea', esr: 0x9200_0010n, far: PAGE, gpa: PAGE }
    : { step: 'set-register', name: 'x0', value: 0n }
  let told = 0
  const machines: Vm[] = []
  for (let index = 0; index < vms; index += 1) {
    const script = Array.from({ length: VCPUS }, (_, vcpu): SimulatedStep[] => {
      // The first half second is for the threads to be there.
      const waits = randomWaits(periodUs, (seconds + 0.5) * 1e6, index * VCPUS + vcpu + 1)
      return [...waits.flatMap((us): SimulatedStep[] => [{ step: 'run', us }, touch]), { step: 'spin' }]
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
  const before = { told, script: scriptTime(), usage: process.cpuUsage(), wakeUps: scriptWakeUps() }
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
  const { user, system } = process.cpuUsage(before.usage)
  const count = told - before.told
  const taken = scriptTime() - before.script
  const wakeUps = scriptWakeUps() - before.wakeUps
  await Promise.all(machines.map((vm) => vm.close()))
  const perSecond = (value: number) => value / seconds
  return {
    script: perSecond(taken),
    process: perSecond((user + system) * 1000),
    events: perSecond(count),
    wakeUps: perSecond(wakeUps),
  }
}

/** Exponentially distributed waits of that mean, in whole microseconds, that last so long together; the same for the same seed. */
function randomWaits(meanUs: number, togetherUs: number, seed: number): number[] {
  const waits: number[] = []
  let state = Math.imul(seed, 0x9e37_79b1)
  for (let sum = 0; sum < togetherUs; ) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    const us = Math.max(1, Math.round(-meanUs * Math.log((state + 0.5) / 2 ** 32)))
    waits.push(us)
    sum += us
  }
  return waits
}

/** How long the JavaScript thread ran on a processor, in nanoseconds. */
function scriptTime(): number {
  return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0])
}

function scriptWakeUps(): number {
  const status = readFileSync(`/proc/self/task/${process.pid}/status`, 'utf8')
  return Number(/^voluntary_ctxt_switches:\s*(\d+)$/m.exec(status)?.[1])
}
