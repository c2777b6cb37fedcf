import { type SimulatedStep, simulated, Vm } from 'seawall'
import { loadEcho, runEcho } from './echo/echo.ts'
import { type BenchPart, type Measurement, measurement } from './measurement.ts'
import { quantile, scaled } from './numbers.ts'

/** Both sides take turns, so that what the machine does otherwise meets both. */
const ROUNDS = 8
const QUESTIONS = 500
/** Between two questions of a vCPU: enough for everything that follows an answer to be over. */
const PAUSE_US = 1000
const PAGE = 0x8010_0000n
/** At most this share of the waits may be over before the last one was looked at. */
const MERGED = 0.2

/** A vCPU → `decide` → the vCPU. */
export const decideLatency: BenchPart = {
  name: 'decide-latency',
  describe:
    'How long a vCPU waits for `decide`, as its own thread measures it: from the question to the answer in its hands. ' +
    'Compared with an addon in C that does nothing else (bench/echo/echo.c): a thread calls a ThreadsafeFunction, and waits ' +
    'on a condition variable until JavaScript has called back. One thread, one question at a time, with a pause between.',
  async run(scale) {
    const echo = await loadEcho()
    const questions = scaled(QUESTIONS, scale, 20)
    const bare: number[] = []
    const decided: number[] = []
    // One for nothing: the code is compiled, the threads' memory is there.
    for (let round = -1; round < ROUNDS; round += 1) {
      const echoes = await runEcho(echo, { threads: 1, rounds: questions, pauseNs: PAUSE_US * 1000 })
      const waits = await ask(questions)
      if (round < 0) continue
      bare.push(...echoes)
      decided.push(...waits)
    }
    return [row('p50', 0.5, decided, bare), row('p99', 0.99, decided, bare)]
  },
}

function row(name: string, share: number, decided: readonly number[], bare: readonly number[]): Measurement {
  return measurement({
    name: `vCPU to decide to vCPU, ${name}`,
    value: quantile(decided, share) / 1000,
    unit: 'µs',
    reference: { name: 'ThreadsafeFunction echo in C', value: quantile(bare, share) / 1000 },
    target: 1.3,
  })
}

/** Asks `decide` so often, and returns how long the vCPU waited each time, in nanoseconds. */
async function ask(questions: number): Promise<number[]> {
  const once: SimulatedStep[] = [
    { step: 'run', us: PAUSE_US },
    { step: 'sea', esr: 0x9200_0010n, far: PAGE, gpa: PAGE },
  ]
  const steps = [...Array<SimulatedStep[]>(questions).fill(once).flat(), { step: 'shutdown' } as const]
  await using vm = await Vm.create({
    memory: 2 ** 21,
    boot: { type: 'flat', image: new Uint8Array(4) },
    backend: simulated({ script: [steps] }),
    memoryFailure: {
      quarantine: false,
      sameFaultLimit: questions + 1,
      decisionTimeoutMs: 10_000,
      decide: () => ({ action: 'inject' }),
    },
  })
  const waits: number[] = []
  let asked = 0n
  let waited = 0n
  vm.on('memory-failure', () => {
    const { decisions } = vm.stats()
    // Where the vCPU was faster than the event, two waits count as one, which is longer than either.
    if (decisions.asked > asked) waits.push(Number(decisions.waitedNs - waited))
    asked = decisions.asked
    waited = decisions.waitedNs
  })
  await vm.start()
  await vm.wait()
  const { decisions } = vm.stats()
  if (decisions.fallback > 0n) throw new Error(`${decisions.fallback} of ${questions} got no answer`)
  if (waits.length < questions * (1 - MERGED))
    throw new Error(`Expected ${questions} waits to look at one by one but received ${waits.length}`)
  return waits
}
