// Logs every event of a VM as NDJSON: one line of JSON each, as seawall/events.schema.json describes it.
//
//   node build/examples/log-events.js                a simulated guest that consumes two memory errors; runs anywhere
//   node build/examples/log-events.js guest.bin      a flat arm64 binary under KVM
import { once } from 'node:events'
import { jsonReplacer, simulated, Vm, type VmOptions } from 'seawall'

const [image] = process.argv.slice(2)
const guest: Pick<VmOptions, 'boot' | 'backend'> =
  image === undefined
    ? {
        boot: { type: 'flat', image: new Uint8Array(4) },
        backend: simulated({
          script: [
            [
              { step: 'sea', esr: 0x9200_0010n, gpa: 0x8001_0000n, far: 0x4000_0010n },
              { step: 'sea', esr: 0x8200_0010n, gpa: 0x8002_0000n, far: 0x4000_1000n, pc: 0x4000_1000n },
              { step: 'shutdown' },
            ],
          ],
        }),
      }
    : { boot: { type: 'flat', image } }

await using vm = await Vm.create({ memory: 64 * 2 ** 20, ...guest })
const logged = logEvents(vm)
await vm.start()
await vm.wait()
await vm.close()
await logged

/** Ends when the VM is closed. Where the output is slow, the VM runs on: it is events that are lost, and a line says which. */
async function logEvents(vm: Vm): Promise<void> {
  for await (const event of vm.events()) {
    if (!process.stdout.write(`${JSON.stringify(event, jsonReplacer)}\n`)) await once(process.stdout, 'drain')
  }
}
