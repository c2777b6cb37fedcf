import type { ExecutionContext } from 'ava'
import { type MemoryFailurePolicy, type SimulatedStep, simulated, Vm } from 'seawall'
import { LiveView } from '#cli/live-view/live-view'

/** The size of the guest's RAM, in bytes. */
export const MEMORY = 64 * 2 ** 20
/** An application loads from a lost page. */
export const lost = {
  step: 'sea',
  esr: 0x9200_0610n,
  gpa: 0x8001_0000n,
  far: 0x4000_0010n,
} as const satisfies SimulatedStep
export const SPIN: SimulatedStep = { step: 'spin' }

/** A view of a guest that plays a script, before it runs. */
export async function viewOf(
  t: ExecutionContext,
  ...steps: SimulatedStep[]
): Promise<{ vm: Vm; view: LiveView }> {
  return await viewWith(t, {}, ...steps)
}

/** A view of a guest with a policy of its own. */
export async function viewWith(
  t: ExecutionContext,
  memoryFailure: MemoryFailurePolicy,
  ...steps: SimulatedStep[]
): Promise<{ vm: Vm; view: LiveView }> {
  const boot = { type: 'flat', image: new Uint8Array(4) } as const
  const backend = simulated({ script: [steps] })
  const vm = await Vm.create({ name: 'seen', memory: MEMORY, boot, backend, memoryFailure })
  const view = await LiveView.open(vm, { memory: MEMORY })
  t.teardown(async () => {
    await vm.close()
    await view.close()
  })
  return { vm, view }
}
