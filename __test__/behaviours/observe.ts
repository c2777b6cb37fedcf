import type { ExecutionContext } from 'ava'
import { type MemoryFailureEvent, Vm, type VmEvent, type VmExit, type VmOptions } from 'seawall'
import type { Behaviour, GuestException } from './behaviour.ts'

/** What happened to one VM from its start to its end. */
interface Observation {
  events: VmEvent[]
  exit: VmExit
  console: string
}

const LINE =
  /^exception vector=(0x[0-9a-f]+) esr=(0x[0-9a-f]{16}) far=(0x[0-9a-f]{16}) elr=(0x[0-9a-f]{16}) spsr=(0x[0-9a-f]{16})$/

/** Runs a behaviour on a backend and checks everything it claims. */
export async function check(
  t: ExecutionContext,
  behaviour: Behaviour,
  backend: Pick<VmOptions, 'backend' | 'boot'>,
): Promise<void> {
  const kind = backend.backend === undefined || backend.backend === 'kvm' ? 'kvm' : 'simulated'
  const { events, exit, console } = await observe(behaviour, backend)
  t.like(exit, behaviour.exit, console)
  t.is(exit.error?.code, behaviour.exit.error?.code)

  const failures = events.filter((event) => event.type === 'memory-failure')
  t.is(failures.length, behaviour.failures.length, 'memory-failure events')
  for (const [index, failure] of failures.entries()) {
    const expected = { ...behaviour.failures[index], backend: kind, schemaVersion: 1 }
    t.like(failure, expected, behaviour.rows?.[index])
  }
  const unclaimed = events.filter((event) => event.type === 'unclaimed-access')
  t.is(unclaimed.length, behaviour.unclaimed?.length ?? 0, 'unclaimed-access events')
  for (const [index, access] of unclaimed.entries()) t.like(access, behaviour.unclaimed?.[index] ?? {})
  const fallbacks = events.filter((event) => event.type === 'decision-fallback')
  const reasons = fallbacks.map(({ failure, reason }) => ({ failure, reason }))
  const expected = (behaviour.fallbacks ?? []).map((reason, index) => ({
    failure: failures[index]?.seq,
    reason,
  }))
  t.deepEqual<unknown, unknown>(reasons, expected)
  checkOrder(t, events, exit)

  const lines = console.split('\n').filter((line) => line !== '')
  const exceptions = lines.filter((line) => line.startsWith('exception '))
  t.is(exceptions.length, behaviour.exceptions.length, console)
  const consumed = failures.filter((failure) => failure.consumer !== null)
  for (const [index, line] of exceptions.entries()) {
    checkException(t, line, behaviour.exceptions[index] ?? {}, consumed[index])
  }
  // Whoever says which instruction is to abort gets its abort there.
  const access = lines.find((line) => line.startsWith('access='))?.slice('access='.length)
  if (access !== undefined) {
    for (const line of exceptions) t.true(line.includes(` elr=${access} `), `${access}: ${line}`)
  }
  for (const line of behaviour.lines ?? []) t.true(lines.includes(line), `${line} is missing in:\n${console}`)
  t.false(lines.includes('done') && behaviour.lines?.includes('done') !== true, 'it went on after its end')
}

function checkException(
  t: ExecutionContext,
  line: string,
  expected: Partial<GuestException>,
  failure: MemoryFailureEvent | undefined,
): void {
  const [, vector, esr, far, elr, spsr] = (LINE.exec(line) ?? []).map((word) =>
    word.startsWith('0x') ? BigInt(word) : 0n,
  )
  t.like({ vector, esr, far, spsr }, expected, line)
  if (failure === undefined) return
  t.is(elr, failure.consumer?.pc ?? undefined, 'ELR_EL1 is where the error was consumed')
  if (failure.injection !== null)
    t.is(esr, failure.injection.esr ?? undefined, 'the guest reads what was injected')
}

function checkOrder(t: ExecutionContext, events: VmEvent[], exit: VmExit): void {
  t.deepEqual(
    events.map((event) => event.seq).sort((a, b) => a - b),
    events.map((_, index) => index + 1),
    'one sequence from 1, without gaps',
  )
  const states = events.filter((event) => event.type === 'state-changed').map((event) => event.to)
  const end = exit.reason === 'failed' ? 'failed' : 'stopped'
  t.deepEqual([states[0], states.at(-2), states.at(-1)], ['running', end, 'closed'])
  const ends = events.filter((event) => event.type === 'exit')
  t.deepEqual(
    ends.map((event) => event.exit),
    [exit],
  )
}

async function observe(
  behaviour: Behaviour,
  backend: Pick<VmOptions, 'backend' | 'boot'>,
): Promise<Observation> {
  const vm = await Vm.create({ memory: 4 * 2 ** 20, ...backend, ...behaviour.options })
  const events: VmEvent[] = []
  const collected = collect(vm, events)
  const stream = vm.events()
  const next = async (type: VmEvent['type']): Promise<VmEvent> => {
    for (;;) {
      const { value, done } = await stream.next()
      if (done === true) throw new Error(`the VM ended before any ${type}`)
      if (value.type === type) return value
    }
  }
  let console = ''
  vm.console.setEncoding('utf8').on('data', (text: string) => {
    console += text
  })
  const ended = new Promise((resolve) => vm.console.once('end', resolve))
  try {
    await behaviour.prepare?.(vm)
    await vm.start()
    await behaviour.act?.(vm, next)
    const exit = await vm.wait()
    await vm.close()
    await Promise.all([ended, collected])
    return { events, exit, console }
  } finally {
    await vm.close()
  }
}

async function collect(vm: Vm, events: VmEvent[]): Promise<void> {
  for await (const event of vm.events()) events.push(event)
}
