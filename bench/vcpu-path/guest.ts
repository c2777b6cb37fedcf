import { Vm } from 'seawall'
import { Injector } from '../../__test__/kvm/injector.ts'
import { MEMORY, MODES, type Mode, type ModeName, POISON, TIMES } from './modes.ts'

/** How often this thread looks whether the guest is done. */
const PERIOD_MS = 20

/** Has a guest of Seawall's do one thing `count` times; how long each took, in ticks of its counter. */
export async function timesOfSeawall(name: ModeName, count: number): Promise<number[]> {
  const mode: Mode = MODES[name]
  using injector = new Injector()
  injector.arm('fsc=0x10', POISON, BigInt(MEMORY) - (POISON - 0x8000_0000n))
  const boot = { type: 'flat', image: 'build/guests/timed-accesses.bin' } as const
  await using vm = await Vm.create({ memory: MEMORY, boot, memoryFailure: mode.memoryFailure })
  const registers = {
    x0: BigInt(count),
    x2: mode.address,
    x3: mode.step,
    x4: TIMES,
    x5: BigInt(mode.what),
  } as const
  for (const [register, value] of Object.entries(registers))
    await vm.vcpus[0]?.setRegister(register as keyof typeof registers, value)
  if (mode.lost !== undefined) await vm.reportPoison(POISON + BigInt(MEMORY / 2), mode.lost * 4096)
  const done = () => {
    const { exits, failures } = vm.stats()
    return Number(mode.what === 0 ? failures : exits['mmio']) >= count
  }
  await vm.start()
  if (mode.memoryFailure.decide === undefined) {
    // One processor runs both threads: this one sleeps, so that the times are the vCPU's alone.
    const never = new Int32Array(new SharedArrayBuffer(4))
    while (!done()) Atomics.wait(never, 0, 0, PERIOD_MS)
  }
  const exit = await vm.wait()
  if (exit.reason !== 'shutdown')
    throw new Error(`Expected the guest to shut down but received ${exit.reason}`)
  const bytes = vm.memory.read(TIMES, count * 8)
  const words = new BigUint64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
  return Array.from(words, Number)
}
