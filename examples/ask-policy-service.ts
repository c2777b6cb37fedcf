// Asks an HTTP service what to do with each memory error. Logs the VM's events as NDJSON.
//
//   node build/examples/ask-policy-service.js                       a service of its own on loopback; runs anywhere
//   node build/examples/ask-policy-service.js --delay 5000          the same, but slow: the VM's own policy decides
//   node build/examples/ask-policy-service.js --url http://…        another service: it gets the failure, and answers a decision
//   node build/examples/ask-policy-service.js --image guest.bin     a flat arm64 binary under KVM
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import {
  type Decide,
  type Decision,
  jsonReplacer,
  jsonReviver,
  type MemoryFailure,
  simulated,
  Vm,
  type VmOptions,
} from 'seawall'

const { values } = parseArgs({
  options: {
    image: { type: 'string' },
    url: { type: 'string' },
    delay: { type: 'string', default: '0' },
    timeout: { type: 'string', default: '1000' },
  },
})

const service =
  values.url === undefined ? await startService(Number(values.delay)) : { url: values.url, stop: () => {} }

/** The vCPU waits meanwhile, out of the guest. When it waits no more, `signal` ends the request. */
const decide: Decide = async (failure, { signal }) => {
  const body = JSON.stringify(failure, jsonReplacer)
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(service.url, { method: 'POST', headers, body, signal })
  if (!response.ok) throw new Error(`the policy service answered ${response.status}`)
  // Not looked at here: what is no decision, or none that can be carried out, leaves it to the VM's own policy.
  return (await response.json()) as Decision
}

await using vm = await Vm.create({
  memory: 64 * 2 ** 20,
  ...guest(),
  // `recoverable` and `uncontainable` are what happens where the service gives no answer in time.
  memoryFailure: {
    decide,
    decisionTimeoutMs: Number(values.timeout),
    recoverable: 'inject',
    uncontainable: 'stop',
  },
})
const logged = logEvents(vm)
await vm.start()
await vm.wait()
await vm.close()
await logged
service.stop()

/** A service with a policy: whoever touched the page is told, unless it is the guest's kernel. */
async function startService(delayMs: number): Promise<{ url: string; stop: () => void }> {
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request.setEncoding('utf8')) body += chunk
    const failure: MemoryFailure = JSON.parse(body, jsonReviver)
    await setTimeout(delayMs, undefined, { ref: false })
    const decision: Decision =
      failure.consumer?.mode === 'kernel' ? { action: 'stop' } : { action: 'inject', abort: 'auto' }
    response.setHeader('content-type', 'application/json').end(JSON.stringify(decision))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const stop = () => {
    server.close()
    server.closeAllConnections()
  }
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/decide`, stop }
}

function guest(): Pick<VmOptions, 'boot' | 'backend'> {
  if (values.image !== undefined) return { boot: { type: 'flat', image: values.image } }
  const backend = simulated({
    script: [
      [
        // An application loads from a bad page, and later the guest's kernel from another one.
        { step: 'sea', esr: 0x9200_0010n, gpa: 0x8010_0000n, far: 0x4000_0010n },
        { step: 'sea', esr: 0x9200_0010n, gpa: 0x8010_1000n, far: 0x4000_1010n, pstate: 0x3c5n },
        { step: 'shutdown' },
      ],
    ],
  })
  return { boot: { type: 'flat', image: new Uint8Array(4) }, backend }
}

async function logEvents(vm: Vm): Promise<void> {
  for await (const event of vm.events()) process.stdout.write(`${JSON.stringify(event, jsonReplacer)}\n`)
}
