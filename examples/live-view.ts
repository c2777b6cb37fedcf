// Shows a simulated guest that loses memory in a browser: the page of `seawall run --ui`, also on hosts without KVM.
//
//   node build/examples/live-view.js                  prints the page's address; Ctrl-c ends it
//   node build/examples/live-view.js --port 8080      at that port
//   node build/examples/live-view.js --pace 0 --end   everything at once, and then the end
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { type SimulatedStep, simulated, Vm } from 'seawall'
import { LiveView } from '#cli/live-view/live-view'

const { values } = parseArgs({
  options: {
    port: { type: 'string' },
    pace: { type: 'string', default: '2000' },
    end: { type: 'boolean', default: false },
  },
})
const pace = Number(values.pace)
const memory = 256 * 2 ** 20

/** What happens to the guest: who meets an error, where, and what the guest says then. */
const script: SimulatedStep[] = [
  print('guest: 4 applications, 256 MiB of memory'),
  lost(0x8420_3000n, { esr: 0x9200_0010n, far: 0xffff_9c20_3018n }),
  print('guest: \u001b[33mapplication 1\u001b[0m gets SIGBUS: ESR_EL1={esr_el1} FAR_EL1={far_el1}'),
  lost(0x8917_4000n, { esr: 0x9200_0050n, far: 0xffff_a117_4a40n }),
  print('guest: application 2 was storing: ESR_EL1={esr_el1} FAR_EL1={far_el1}'),
  lost(0x8c50_0000n, { esr: 0x8200_0010n, far: 0xaaaa_b650_0000n, pc: 0xaaaa_b650_0000n }),
  print('guest: application 3 was fetching an instruction: ESR_EL1={esr_el1}'),
  lost(null, { esr: 0x9200_0617n }),
  print('guest: application 4 had its page tables hit; nobody knows which page that is'),
  lost(0x8420_3000n, { esr: 0x9200_0010n, far: 0xffff_9c20_3020n }),
  print('guest: application 5 was given the first page again: <b>quarantine</b> & SIGBUS'),
  lost(0x8e00_8000n, {
    esr: 0x9200_0010n,
    far: 0xffff_8000_0e00_8000n,
    pc: 0xffff_8000_8001_0a3cn,
    pstate: 0x3c5n,
  }),
  print('guest: the kernel itself was hit'),
  values.end ? { step: 'shutdown' } : { step: 'spin' },
]

await using vm = await Vm.create({
  name: 'example guest',
  memory,
  boot: { type: 'flat', image: new Uint8Array(4) },
  backend: simulated({ script: [script] }),
  memoryFailure: {
    // A vCPU waits for the decision, so that one can look meanwhile.
    decide: async (_failure, { signal }) => {
      await setTimeout(pace, undefined, { signal })
      return { action: 'inject' }
    },
    decisionTimeoutMs: pace + 10_000,
  },
})
const view = await LiveView.open(vm, { memory, port: Number(values.port ?? 0) })
console.log(view.url)
process.once('SIGINT', () => void vm.stop())
await vm.start()
const ended = vm.wait()
// The owner knows of more: a scrubber has found a page, and has another one given back as zeroes.
await vm.reportPoison(0x8780_0000n, 4096)
await vm.reportPoison(0x87c0_1000n, 8192)
await vm.replacePage(0x8780_0000n)
console.log((await ended).reason)
await vm.close()
await view.close()

function print(text: string): SimulatedStep {
  return { step: 'print', text: `${text}\n` }
}

/** A memory error in a page, or in one that the kernel does not know. */
function lost(
  page: bigint | null,
  access: { esr: bigint; far?: bigint; pc?: bigint; pstate?: bigint },
): SimulatedStep {
  return { step: 'sea', gpa: page, pc: 0xaaaa_b640_0b2cn, ...access }
}
