import type { Vcpu } from './vcpu.ts'
import type { Vm } from './vm.ts'

/** How long after its deadline a handler is told that nobody waits for it any more, where the event that says so was lost. */
const LOST_EVENT_MS = 1000

/** What `decide` gets beside the failure. The signal is made when it is asked for: most handlers never do. */
export class DecisionContext {
  readonly vm: Vm
  readonly vcpu: Vcpu
  readonly #timeoutMs: number
  #since = Number.NaN
  #controller: AbortController | undefined
  #aborted = false
  #ended = false
  #lost: NodeJS.Timeout | undefined

  constructor(vm: Vm, vcpu: Vcpu, timeoutMs: number) {
    this.vm = vm
    this.vcpu = vcpu
    this.#timeoutMs = timeoutMs
  }

  /** Aborted when nobody waits for the answer any more. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#aborted) this.#controller.abort()
      // The vCPU's own clock decides, and an event says that it waits no more. This one is for a reader that lost the event,
      // and so late that the vCPU has gone on for certain.
      else if (!this.#ended)
        this.#lost = setTimeout(() => this.abort(), this.#timeoutMs + LOST_EVENT_MS).unref()
    }
    return this.#controller.signal
  }

  /** The answer is a promise, from now on. */
  pend(): void {
    this.#since = performance.now()
  }

  /** Whether the deadline is over for certain. */
  get isLate(): boolean {
    return performance.now() - this.#since > this.#timeoutMs
  }

  /** Nobody waits any more. */
  abort(): void {
    this.#aborted = true
    this.#controller?.abort()
    clearTimeout(this.#lost)
  }

  /** It was answered. */
  end(): void {
    this.#ended = true
    clearTimeout(this.#lost)
  }
}
