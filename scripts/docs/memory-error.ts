/** Who does a step. */
export type Actor = 'guest' | 'host' | 'vcpu' | 'javascript'

/** One step of a memory error on its way. */
export interface Step {
  readonly actor: Actor
  /** What happens, in a few words; docs/memory-errors.md has a section of that name. */
  readonly title: string
  readonly detail: string
}

/** What each actor is called in the picture. */
export const ACTORS: Record<Actor, string> = {
  guest: 'guest',
  host: "processor and host's KVM",
  vcpu: "Seawall, the vCPU's own thread",
  javascript: 'your program, in JavaScript',
}

/** The way of a memory error through Seawall, in order. */
export const STEPS: readonly Step[] = [
  {
    actor: 'guest',
    title: 'The guest touches a lost page',
    detail: 'A load, a store, a fetch or a table walk meets memory that the hardware cannot read any more.',
  },
  {
    actor: 'host',
    title: 'The vCPU leaves the guest',
    detail:
      'A synchronous external abort (SEA). Firmware does not claim it: KVM_EXIT_ARM_SEA. It does: SIGBUS.',
  },
  {
    actor: 'vcpu',
    title: 'Who it was',
    detail:
      'The syndrome is decoded; PC and PSTATE say which instruction, of an application or of the kernel.',
  },
  {
    actor: 'vcpu',
    title: 'The ledger and the quarantine',
    detail: 'The page is written down, then taken out of reach: nothing consumes the error again.',
  },
  {
    actor: 'vcpu',
    title: 'The verdict',
    detail: 'The policy: inject, pause or stop. A decide handler may be asked, with a deadline.',
  },
  {
    actor: 'vcpu',
    title: 'The guest is told which page',
    detail: 'By an ACPI error record, or by the agent. A kernel that needs the page gets time to do without.',
  },
  {
    actor: 'vcpu',
    title: 'The abort, with its whole syndrome',
    detail:
      'KVM enters the handler; ESR_EL1 and FAR_EL1 are restored to what the processor reported, and read back.',
  },
  {
    actor: 'javascript',
    title: 'The event',
    detail: 'memory-failure: what happened and what was done. The guest does not wait for it.',
  },
  {
    actor: 'guest',
    title: 'The guest goes on',
    detail: 'Its kernel retires the page and ends the one process that needed it, or gives it an error.',
  },
]
