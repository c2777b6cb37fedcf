import { type SimulatedStep, simulated, Vm } from 'seawall'
import { loadEcho, runEcho } from './echo/echo.ts'
import { type BenchPart, type Measurement, measurement } from './measurement.ts'
import { median, quantile, scaled } from './numbers.ts'

/** Both sides take turns, so that what the machine does otherwise meets both. */
const ROUNDS = 40
/** Rounds before those that count. */
const WARM_UP = 6
const QUESTIONS = 400
/** Between two questions of a vCPU: enough for everything that follows an answer to be over. */
const PAUSE_US = 1000
const PAGE = 0x8010_0000n
/** A vCPU → `decide` → the vCPU. */
export const decideLatency: BenchPart = {
  name: 'decide-latency',
  describe:
    'How long a vCPU waits for `decide`, as its own thread measures it: from the question to the answer in its hands. ' +
    'Compared with an addon in C that does nothing else (bench/echo/echo.c): a thread calls a ThreadsafeFunction, and waits ' +
    `on a condition variable until JavaScript has returned a number. One thread, one question at a time, with a pause between; of each round p50 and p99, and the middle of ${ROUNDS} rounds.`,
  findings: `**Where the time went.** Clocks along the way, on two busy processors, when the vCPU waited 61 µs and the echo 32: to call
JavaScript and have it take the question by a second call, 6 µs; to read the failure and make what \`decide\` gets, 7; to check
the decision, 2; to hand it in as an object by a third call and wake the vCPU, 31, where the echo's own call takes 19. Both
wake a sleeping thread twice, and that is most of what is left.

**What limits it.** Clocks in JavaScript, on processors that had nothing else to do, in rounds in which the vCPU waited 15 µs in the
middle and 59 in the worst hundredth: JavaScript has 2 of the 15 and 12 of the 59. It takes 0.4 to read the failure, 0.6 for \`decide\`
and the check of what it answers, and the rest to find the VM and to ask for a turn of the event loop, which it leaves to the
event that follows since. In the worst hundredth the same code is in no cache: that is what p99 has more than the echo's. All else
is what the echo has too, two threads that wake each other, and with it the addon's part: the record, the look-up of the question,
and a wait that has a deadline. The engine collects garbage once or twice in 400 questions, for 0.2 to 0.5 ms, which is rarer than
one in a hundred.

Some ${WARM_UP * QUESTIONS} questions are asked before those that count: until the engine has compiled what they run, JavaScript takes 8 to 17 µs for
one. These processors run a third slower for seconds at a time, whatever they do: with 16 rounds the middle of p50 was 1.24 and 1.40
times the echo's one after the other, with ${ROUNDS} 1.15 and 1.26. **Before** was compared with an echo that answered by a second call, as
Seawall did then, and took a third longer.

**What made it shorter.** An AbortSignal and its timer are made when the handler asks for them, and few do. The failure is in a
buffer before JavaScript is called, so that no second call takes it. A decision that is there at once is the number which
that call returns, checked without an object in between, so that no third call hands it in. The vCPU is woken when nobody holds
its lock.

**What was tried and left out.** A vCPU that polls for 100 µs before it sleeps: its best tenth came down from 43 to 29 µs, but
where all processors are busy it keeps the one that JavaScript needs, and the middle went from 60 to 170 µs.`,
  async run(scale) {
    const echo = await loadEcho()
    const questions = scaled(QUESTIONS, scale, 20)
    const bare: number[][] = []
    const decided: number[][] = []
    // Some for nothing: a function that is called a thousand times is compiled anew until then.
    for (let round = -scaled(WARM_UP, scale); round < scaled(ROUNDS, scale); round += 1) {
      const echoes = await runEcho(echo, { threads: 1, rounds: questions, pauseNs: PAUSE_US * 1000 })
      const waits = await ask(questions)
      if (round < 0) continue
      bare.push(echoes)
      decided.push(waits)
    }
    return [row('p50', 0.5, decided, bare), row('p99', 0.99, decided, bare)]
  },
}

/** The quantile of each round, and of those the middle: one round that met a busy machine does not count. */
function row(
  name: string,
  share: number,
  decided: readonly number[][],
  bare: readonly number[][],
): Measurement {
  const middle = (rounds: readonly number[][]) => median(rounds.map((waits) => quantile(waits, share))) / 1000
  return measurement({
    name: `vCPU to decide to vCPU, ${name}`,
    value: middle(decided),
    unit: 'µs',
    reference: { name: 'ThreadsafeFunction echo in C', value: middle(bare) },
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
  return waits
}
