import { type MemoryFailureEvent, Vm, type VmOptions } from 'seawall'
import { Injector } from '../../__test__/kvm/injector.ts'
import { imageOf, MEMORY, MODES, type Mode, type ModeName, POISON, POISON_END, READ, TIMES } from './modes.ts'
import type { Run } from './reference.ts'

/** How often this thread looks whether the guest is done. */
const PERIOD_MS = 20
/** A record of one page. */
const RECORD = 172

/** Has a guest of Seawall's do one thing `count` times. */
export async function runGuest(name: ModeName, count: number): Promise<Run> {
  const mode: Mode = MODES[name]
  using injector = new Injector()
  injector.arm('fsc=0x10', POISON, POISON_END - POISON)
  await using vm = await Vm.create({ memory: MEMORY, boot: boot(name), memoryFailure: mode.memoryFailure })
  const failures: MemoryFailureEvent[] = []
  if (mode.told) vm.on('memory-failure', (failure) => failures.push(failure))
  const registers = {
    x0: BigInt(count),
    x2: mode.address,
    x3: mode.step,
    x4: TIMES,
    x5: BigInt(mode.what),
    ...(mode.told ? { ...sourceByException(vm), x9: READ } : {}),
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
  if (mode.told) checkTold(vm, failures, count)
  const bytes = vm.memory.read(TIMES, count * 8)
  const words = new BigUint64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
  const read = mode.told ? Buffer.from(vm.memory.read(READ, count * RECORD)).toString('hex') : ''
  return { times: Array.from(words, Number), read }
}

function boot(name: ModeName): VmOptions['boot'] {
  const image = imageOf(name)
  return MODES[name as 'told'].told ? { type: 'linux', kernel: image } : { type: 'flat', image }
}

/** Where the guest's ACPI tables say that the records are that come with an abort: its registers x7 and x8. */
function sourceByException({ memory }: Vm): { x7: bigint; x8: bigint } {
  const tables = memory.read(POISON_END, MEMORY - Number(POISON_END - 0x8000_0000n))
  const hest = tables.indexOf('HEST')
  if (hest < 0) throw new Error('Expected a table HEST at the end of memory but found none')
  // GHESv2 is type 10, and the abort notification type 8.
  const source = hest + 40
  if (tables.readUInt16LE(source) !== 10 || tables.readUInt8(source + 32) !== 8)
    throw new Error('Expected the first source of the HEST to be GHESv2 by SEA')
  const addressRegister = tables.readBigUInt64LE(source + 20 + 4)
  return {
    x7: tables.readBigUInt64LE(source + 64 + 4),
    x8: tables.readBigUInt64LE(Number(addressRegister - POISON_END)),
  }
}

/** Throws where the guest was not told of every page with its abort, or has not read it. */
function checkTold(vm: Vm, failures: readonly MemoryFailureEvent[], count: number): void {
  const told = failures.filter(
    ({ quarantine, notified, injection }) =>
      quarantine !== null && notified?.source === 'sea' && injection?.result === 'ok',
  )
  const retired = vm.poisonedPages().filter(({ state }) => state === 'guest-retired')
  if (failures.length !== count || told.length !== count || retired.length !== count)
    throw new Error(
      `Expected ${count} failures, told with the abort and read of, but received ${failures.length}, ${told.length} told, ` +
        `${retired.length} read of`,
    )
}
