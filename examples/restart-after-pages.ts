// Runs a guest, and a fresh one in its place once it has lost a number of different pages. Says what it does as NDJSON.
//
//   node build/examples/restart-after-pages.js                      simulated guests; the first loses too much; runs anywhere
//   node build/examples/restart-after-pages.js --pages 8            another limit
//   node build/examples/restart-after-pages.js --image guest.bin    a flat arm64 binary under KVM
import { parseArgs } from 'node:util'
import { jsonReplacer, type SimulatedStep, simulated, Vm, type VmExit, type VmOptions } from 'seawall'

const { values } = parseArgs({
  options: {
    image: { type: 'string' },
    pages: { type: 'string', default: '3' },
    restarts: { type: 'string', default: '5' },
  },
})
const distinctPages = Number(values.pages)
const restarts = Number(values.restarts)

for (let run = 0; ; run += 1) {
  if (!(await runGuest(run))) break
  if (run === restarts) {
    say({ line: 'given-up', restarts })
    process.exitCode = 1
    break
  }
  say({ line: 'restarting', restart: run + 1 })
}

/** Runs one VM to its end. Says whether it has lost so many pages that another one is to take its place. */
async function runGuest(run: number): Promise<boolean> {
  const vm = await Vm.create({
    memory: 64 * 2 ** 20,
    ...guest(run),
    memoryFailure: { threshold: { distinctPages, action: 'stop' } },
  })
  let lostTooMuch = false
  vm.on('memory-failure', ({ gpa, page, action, ledger }) =>
    say({
      line: 'lost',
      vm: vm.id,
      gpa,
      first: page?.first ?? null,
      action,
      distinctPages: ledger.distinctPages,
    }),
  )
  vm.on('poison-threshold-reached', ({ distinctPages }) => {
    lostTooMuch = true
    say({ line: 'threshold', vm: vm.id, distinctPages })
  })
  say({ line: 'started', vm: vm.id, run })
  await vm.start()
  const exit: VmExit = await vm.wait()
  // The host may give these pages to the next guest, unless somebody takes them offline: docs/limits.md.
  const { unretiredHostPages } = await vm.close()
  say({ line: 'ended', vm: vm.id, reason: exit.reason, unretiredHostPages })
  return exit.reason === 'policy' && lostTooMuch
}

function guest(run: number): Pick<VmOptions, 'boot' | 'backend'> {
  if (values.image !== undefined) return { boot: { type: 'flat', image: values.image } }
  // An application touches one bad page after the other; in the second guest it is only one.
  const pages = run === 0 ? distinctPages + 2 : 1
  const steps = Array.from(
    { length: pages },
    (_, page): SimulatedStep => ({
      step: 'sea',
      esr: 0x9200_0010n,
      gpa: 0x8010_0000n + BigInt(page) * 4096n,
    }),
  )
  return {
    boot: { type: 'flat', image: new Uint8Array(4) },
    backend: simulated({ script: [[...steps, { step: 'shutdown' }]] }),
  }
}

function say(line: object): void {
  process.stdout.write(`${JSON.stringify(line, jsonReplacer)}\n`)
}
