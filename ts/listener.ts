import type { MemoryFailure } from './events.ts'
import { loadNative, type NativeListener } from './native.ts'
import { Records } from './record.ts'

/** How many events are told in one turn of the event loop: a storm of them must leave time for everything else. */
export const EVENTS_PER_TURN = 64
/** How many questions `decide` gets in one turn of the event loop; more wait for the next. */
const QUESTIONS_PER_TURN = 16

/** What `answer` returns where there is no decision yet, or never: the addon was told, or will be. */
export const NO_ANSWER = -1

/** What a VM does when there is something for it. None of it throws. */
export interface Listens<Vm> {
  /** Tells up to `most` events, and says how many there were. */
  drain(vm: Vm, most: number): number
  /** Reads the failure that the VM asks about. */
  read(vm: Vm, record: Records): MemoryFailure
  /** Decides: the decision as the addon takes it, or {@link NO_ANSWER}. */
  answer(vm: Vm, failure: MemoryFailure): number
  /** Hands in a decision that {@link Listens.answer} returned. */
  respond(vm: Vm, failure: number, decision: number): void
}

/**
 * Hears of all VMs of this environment, so that many that have something to tell are one wake-up.
 *
 * While vCPUs push events and ask, Node would call whoever was woken again and again without a look at anything else: so many
 * questions and so many events are dealt with in a turn of the event loop, whichever VMs they are of.
 */
export class Listener<Vm extends WeakKey> {
  readonly native: NativeListener
  readonly #question = Records.ofLength(1)
  readonly #listens: Listens<Vm>
  /** Weak: a VM that nobody holds any more, and that does not run, is closed by the garbage collector. */
  readonly #vms = new Map<number, WeakRef<Vm>>()
  readonly #collected = new FinalizationRegistry<number>((machine) => this.#vms.delete(machine))
  /** The VMs that have events, longest first. */
  readonly #ready = new Set<number>()
  /** What was asked when enough had been answered in the turn. */
  readonly #waiting: { vm: Vm; failure: MemoryFailure }[] = []
  #answered = 0
  #turnComes = false

  constructor(listens: Listens<Vm>) {
    this.#listens = listens
    this.native = new (loadNative().NativeListener)(this.#question.buffer, (machine) => this.#woken(machine))
  }

  /** Listens to a VM from now on. */
  add(machine: number, vm: Vm): void {
    this.#vms.set(machine, new WeakRef(vm))
    this.#collected.register(vm, machine)
  }

  /** Takes a question back that was not put yet: nobody waits for the answer any more. */
  withdraw(vm: Vm, failure: number): void {
    this.#withdraw((question) => question.vm === vm && question.failure.seq === failure)
  }

  #withdraw(is: (question: { vm: Vm; failure: MemoryFailure }) => boolean): void {
    const index = this.#waiting.findIndex(is)
    if (index >= 0) this.#waiting.splice(index, 1)
  }

  /** A machine asks, or where there is none some have events. A decision that is there at once goes back as it is. */
  #woken(machine: number): number {
    // No turn for a question: the event that follows its answer asks for one.
    if (machine >= 0) return this.#ask(machine)
    this.#turnSoon()
    return NO_ANSWER
  }

  #ask(machine: number): number {
    const vm = this.#find(machine)
    if (vm === undefined) return NO_ANSWER
    const failure = this.#listens.read(vm, this.#question)
    if (this.#answered === QUESTIONS_PER_TURN) {
      // A vCPU waits for one answer at a time: what it asked before it has given up.
      this.#withdraw((question) => question.vm === vm && question.failure.vcpu === failure.vcpu)
      this.#waiting.push({ vm, failure })
      this.#turnSoon()
      return NO_ANSWER
    }
    this.#answered += 1
    return this.#listens.answer(vm, failure)
  }

  #turnSoon(): void {
    if (this.#turnComes) return
    this.#turnComes = true
    setImmediate(() => this.#turn())
  }

  #turn(): void {
    this.#turnComes = false
    const questions = this.#waiting.splice(0, QUESTIONS_PER_TURN)
    this.#answered = questions.length
    for (const { vm, failure } of questions) {
      const decision = this.#listens.answer(vm, failure)
      if (decision !== NO_ANSWER) this.#listens.respond(vm, failure.seq, decision)
    }
    for (const machine of this.native.takeReady()) this.#ready.add(machine)
    let left = EVENTS_PER_TURN
    for (const machine of this.#ready) {
      if (left === 0) break
      const vm = this.#find(machine)
      const told = vm === undefined ? 0 : this.#listens.drain(vm, left)
      // One that had as many as it might tell may have more.
      this.#ready.delete(machine)
      if (told >= left) this.#ready.add(machine)
      left = Math.max(0, left - told)
    }
    if (this.#ready.size > 0 || this.#waiting.length > 0) this.#turnSoon()
  }

  #find(machine: number): Vm | undefined {
    return this.#vms.get(machine)?.deref()
  }
}
