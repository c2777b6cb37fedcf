import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import test from 'ava'
import { Vm } from 'seawall'

/** An exit of KVM for each access to the UART: the lab has some thousand of them a second. */
const BYTES = 4 * 1024
/** How many bytes the UART has room for. */
const ROOM = 256

test.serial('random bytes come back unharmed, and are written when the guest has taken them', async (t) => {
  const boot = { type: 'flat', image: 'build/guests/polled-echo.bin' } as const
  await using vm = await Vm.create({ memory: 4 * 2 ** 20, boot })
  await vm.vcpus[0]?.setRegister('x0', BigInt(BYTES))
  const input = randomBytes(BYTES)
  const output: Buffer[] = []
  vm.console.on('data', (chunk: Buffer) => output.push(chunk))
  const written = new Promise<bigint | undefined>((resolve) =>
    vm.console.write(input, () => resolve(vm.stats().exits['mmio'])),
  )
  await vm.start()
  const before = performance.now()
  const exits = await written
  // The guest looks for a byte, and reads it.
  t.true(exits !== undefined && exits >= 2 * (BYTES - ROOM), `${exits}`)
  t.is((await vm.wait()).reason, 'shutdown')
  t.log(`${BYTES} bytes in ${((performance.now() - before) / 1000).toFixed(1)} s`)
  const ended = once(vm.console, 'end')
  await vm.close()
  await ended
  const all = Buffer.concat(output)
  t.is(all.subarray(0, 6).toString(), 'ready\n')
  t.true(all.subarray(6, -5).equals(input))
  t.is(all.subarray(-5).toString(), 'done\n')
  t.is(vm.stats().consoleBytesLost, 0n)
})
