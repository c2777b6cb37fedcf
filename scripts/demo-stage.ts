// Plays the demo's acts on this machine's KVM and prints the recording as one line of JSON. scripts/demo-place.ts
// starts it in the project's folder where KVM and the injector are: in the lab, or on this machine.
import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import {
  decodeEsr,
  formatEsr,
  type Injection,
  type MemoryFailureEvent,
  probeHost,
  SeawallError,
  Vm,
} from 'seawall'
import { type Act, BAD_PAGE, LOAD_ADDRESS, MICRO_ACTS, PAGE_SIZE } from './demo-acts.ts'
import {
  type ActRecording,
  type GuestException,
  hex,
  type Recording,
  type RunRecording,
  toJson,
} from './demo-recording.ts'

const MEMORY = 4 * 2 ** 20
/** A guest runs for milliseconds, also in the lab. One that hangs is stopped, and its exit then says `requested`. */
const GUEST_LIMIT_MS = 60_000

async function play(act: Act): Promise<ActRecording> {
  const kvmAlone = await run(act, 'kvm')
  const seawall = await run(act, 'restored')
  const esr = seawall.events[0]?.abort?.esr ?? null
  const [lost, kept] = [kvmAlone, seawall].map(
    ({ exceptions: [first] }) => decodeEsr(first?.esr ?? 0n).fields,
  )
  return {
    id: act.id,
    armed: ruleOf(act),
    kvmAlone,
    seawall,
    syndrome: esr === null ? null : { text: formatEsr(esr), fields: decodeEsr(esr).fields },
    restoredFields: (kept ?? [])
      .filter(({ value }, index) => value !== lost?.[index]?.value)
      .map(({ name }) => name),
  }
}

async function run(act: Act, fidelity: 'kvm' | 'restored'): Promise<RunRecording> {
  const image = readFileSync(join('build', 'guests', `${act.guest}.bin`))
  const injector = openSync('/dev/sea-inject', 'r+')
  const vm = await Vm.create({
    name: act.id,
    memory: MEMORY,
    boot: { type: 'flat', image, loadAddress: LOAD_ADDRESS },
    memoryFailure: { recoverable: fidelity === 'kvm' ? 'pause' : 'inject' },
  })
  const limit = setTimeout(() => void vm.stop().catch(() => {}), GUEST_LIMIT_MS)
  try {
    writeSync(injector, `arm id=1 tgid=${process.pid} ${ruleOf(act)}\n`)
    const events: MemoryFailureEvent[] = []
    vm.on('memory-failure', (event) => events.push(event))
    const printed = text(vm.console)
    const ended = new Promise<void>((resolve) => vm.once('exit', () => resolve()))
    const paused = new Promise<void>((resolve) => {
      vm.on('state-changed', ({ to }) => to === 'paused' && resolve())
    })
    await vm.start()
    let byHand: Injection | null = null
    if (fidelity === 'kvm') {
      await Promise.race([paused, ended])
      if (vm.state === 'paused') {
        byHand = (await vm.vcpus[0]?.injectDataAbort({ fidelity })) ?? null
        await vm.resume()
      }
    }
    const { reason, error } = await vm.wait()
    const hits = /^rule id=1 .*hits=(\d+)$/m.exec(readInjector(injector))?.[1] ?? '0'
    await vm.close()
    const console = await printed
    return {
      events,
      injection: byHand ?? events[0]?.injection ?? null,
      instruction: instructionAt(image, events[0]?.consumer?.pc ?? null),
      console,
      exceptions: parseExceptions(console),
      exit: { reason, error: error === undefined ? null : `${error.code}: ${error.message}` },
      hits: Number(hits),
    }
  } finally {
    clearTimeout(limit)
    await vm.close()
    closeSync(injector)
  }
}

function ruleOf(act: Act): string {
  return `start=${hex(BAD_PAGE)} end=${hex(BAD_PAGE + PAGE_SIZE)} ${act.rule}`
}

function readInjector(descriptor: number): string {
  const rules = Buffer.alloc(64 * 1024)
  return rules.toString('utf8', 0, readSync(descriptor, rules, 0, rules.length, 0))
}

function parseExceptions(console: string): GuestException[] {
  const line = /^exception vector=(\w+) esr=(\w+) far=(\w+) elr=(\w+) spsr=(\w+)\r?$/gm
  return [...console.matchAll(line)].map((match) => {
    const [vector = 0n, esr = 0n, far = 0n, elr = 0n, spsr = 0n] = match.slice(1).map(BigInt)
    return { vector, esr, far, elr, spsr }
  })
}

function instructionAt(image: Buffer, pc: bigint | null): RunRecording['instruction'] {
  const offset = pc === null ? -1 : Number(pc - LOAD_ADDRESS)
  if (offset < 0 || offset + 4 > image.length) return null
  const word = image.readUInt32LE(offset)
  return { word: BigInt(word), text: disassemble(word) }
}

/** LDR and STR of 64 bits, immediate, unsigned offset (Arm ARM, loads and stores), by bits 31:22. */
const LOADS_AND_STORES = new Map([
  [0b11_111_0_01_00, 'str'],
  [0b11_111_0_01_01, 'ldr'],
])

/** Names the instructions that the acts need. */
function disassemble(word: number): string {
  const opcode = LOADS_AND_STORES.get(word >>> 22)
  if (opcode === undefined) return 'another instruction'
  const [offset, base, register] = [((word >>> 10) & 0xfff) * 8, (word >>> 5) & 31, word & 31]
  const address = `${base === 31 ? 'sp' : `x${base}`}${offset === 0 ? '' : `, #${offset}`}`
  return `${opcode} ${register === 31 ? 'xzr' : `x${register}`}, [${address}]`
}

async function playAll(): Promise<Recording> {
  const support = probeHost()
  const acts: ActRecording[] = []
  for (const act of MICRO_ACTS) acts.push(await play(act))
  return { kernel: support.kernel, node: process.version, support, acts }
}

try {
  process.stdout.write(`${toJson(await playAll())}\n`)
} catch (error) {
  process.stderr.write(
    `${error instanceof SeawallError ? `${error.code}: ${error.message}` : String(error)}\n`,
  )
  process.exitCode = 1
}
