// Kept in what is published: a compiler that was told of no types, as is the default since TypeScript 6, still finds Node's.
/// <reference types="node" preserve="true" />
import { EventEmitter } from 'node:events'
import type { Duplex } from 'node:stream'
import { checkBytes, checkInteger, checkRecord, checkSignal, checkU64 } from './checks.ts'
import { Console } from './console.ts'
import { ask, type Decision, toNativeDecisions } from './decision.ts'
import { DecisionContext } from './decision-context.ts'
import { EventStream } from './event-stream.ts'
import type { MemoryFailure, PoisonedPage, VmEvent, VmEvents, VmExit, VmState } from './events.ts'
import { othersBefore, readFailure, readFailureEvent } from './failure-record.ts'
import { EVENTS_PER_TURN, Listener, NO_ANSWER } from './listener.ts'
import {
  loadNative,
  type NativeBatch,
  type NativeError,
  type NativeEvent,
  type NativeVm,
  type NativeVmOptions,
  unwrap,
} from './native.ts'
import { toEvent, toExit } from './native-event.ts'
import { type Decide, toDecide, toNativeOptions, type VmOptions } from './options.ts'
import { Records } from './record.ts'
import { redact } from './redaction.ts'
import { toStats, type VmStats } from './stats.ts'
import { Vcpu } from './vcpu.ts'

/** Longer than any timer runs: what keeps the process alive is that the timer exists. */
const KEEP_ALIVE_MS = 2 ** 30
/** So many times in a row, where that many were there each time, tell all that the VM keeps. */
const TURNS_FOR_ALL = 4096 / EVENTS_PER_TURN
/** Where the addon writes events. One for all VMs: each batch is read before the next is taken. */
let events: Records | undefined
const NONE: never[] = []

/** Guest RAM. */
export interface VmMemory {
  /** Copies `length` bytes at guest-physical address `gpa`, also while the guest runs. */
  read(gpa: bigint, length: number): Buffer
  /** Writes bytes at guest-physical address `gpa`, also while the guest runs. */
  write(gpa: bigint, data: Uint8Array): void
}

/**
 * A virtual machine.
 *
 * ```text
 * created ── start() ──> running <── resume() / pause() ──> paused
 * any of them ── stop(), the guest, the policy ──> stopped | failed ── close() ──> closed
 * ```
 *
 * It is an EventEmitter with one event per `type` of {@link VmEvent}; it never emits Node's `error`.
 *
 * @example
 * ```ts
 * import { Vm } from 'seawall'
 *
 * await using vm = await Vm.create({ memory: 64 * 2 ** 20, boot: { type: 'flat', image: 'guest.bin' } })
 * vm.on('memory-failure', ({ gpa, consumer, action }) => console.log(gpa, consumer?.mode, action))
 * vm.console.pipe(process.stdout)
 * await vm.start()
 * console.log(await vm.wait())
 * ```
 */
export class Vm extends EventEmitter<VmEvents> implements AsyncDisposable {
  static #listener: Listener<Vm> | undefined
  /** How many VMs there were so far: the number that the listener knows one by. */
  static #machines = 0
  /** A name for machines, in every event. */
  readonly id: string
  /** A name for people. */
  readonly name: string | null
  /** The vCPUs, by index. */
  readonly vcpus: readonly Vcpu[]
  /** Guest RAM. Throws `ERR_GUEST_MEMORY` outside it, `ERR_POISONED_PAGE` on a lost page, `ERR_VM_CLOSED` after {@link Vm.close}. */
  readonly memory: VmMemory
  readonly #native: NativeVm
  readonly #console: Console
  readonly #redacted: boolean
  readonly #streams = new Set<EventStream>()
  readonly #decide: Decide | undefined
  readonly #decisionTimeoutMs: number
  /** What `decide` was asked and has not answered, by the failure's number. */
  readonly #asked = new Map<number, DecisionContext>()
  #keepAlive: NodeJS.Timeout | undefined
  #referenced = true
  #closing: Promise<{ unretiredHostPages: number }> | undefined

  /**
   * Creates a virtual machine, with its memory filled and its vCPUs before their first instruction.
   *
   * @throws {@link SeawallError} `ERR_INVALID_OPTION`, `ERR_INVALID_IMAGE`, `ERR_UNSUPPORTED_HOST`, `ERR_KVM_PERMISSION`,
   * `ERR_KVM_IOCTL`, `ERR_OUT_OF_RESOURCES`, `ERR_SIGNAL_HANDLER`, `ERR_GUEST_MEMORY`, `ERR_NATIVE_MISSING`.
   */
  static async create(options: VmOptions): Promise<Vm> {
    const native = toNativeOptions(options)
    const decide = toDecide(options)
    Vm.#listener ??= new Listener<Vm>({
      drain: (vm, most) => vm.#drain(most),
      read: (vm, record) => readFailure(record, vm),
      answer: (vm, failure) => vm.#answer(failure),
      respond: (vm, failure, decision) => void vm.#native.respond(failure, decision),
    })
    const machine = Vm.#machines
    Vm.#machines += 1
    const asks = decide !== undefined
    const created = await loadNative().createVm(native, Vm.#listener.native, machine, asks)
    const vm = new Vm(unwrap(created), native, decide)
    Vm.#listener.add(machine, vm)
    return vm
  }

  private constructor(native: NativeVm, options: NativeVmOptions, decide: Decide | undefined) {
    super()
    this.#decide = decide
    this.#decisionTimeoutMs = options.decisionTimeoutMs
    this.id = options.id
    this.name = options.name
    this.#redacted = options.redact
    this.#native = native
    this.#console = new Console(native)
    this.vcpus = Array.from({ length: options.vcpus }, (_, index) => new Vcpu(native, index))
    this.memory = {
      read: (gpa, length) =>
        unwrap(native.readMemory(checkU64(gpa, 'gpa'), checkInteger(length, 0, 2 ** 32 - 1, 'length'))),
      write: (gpa, data) => void unwrap(native.writeMemory(checkU64(gpa, 'gpa'), checkBytes(data, 'data'))),
    }
  }

  /** Where the VM is in its life. */
  get state(): VmState {
    return this.#native.state
  }

  /**
   * The guest's console, a 16550 UART, with back-pressure in both directions: from the first read on nothing is lost that the
   * guest waits for, and what is written waits until the guest takes it, also before the VM runs. Where nothing reads, the
   * newest 1 MiB is kept and the guest never waits. It ends when the VM is closed.
   */
  get console(): Duplex {
    return this.#console
  }

  /** Every page that the guest has lost, by address; none once the VM is closed. */
  poisonedPages(): PoisonedPage[] {
    return this.#native.poisonedPages()
  }

  /** Lets the vCPUs run. Rejects with `ERR_INVALID_STATE` from any state but `created`. */
  async start(): Promise<void> {
    await this.#run(this.#native.start())
  }

  /** Takes every vCPU out of the guest. Rejects with `ERR_INVALID_STATE` from any state but `running`. */
  async pause(): Promise<void> {
    await this.#run(this.#native.pause())
  }

  /**
   * Lets the vCPUs of a paused VM go on. Failures that wait are settled first: as `decisions` say, by the `seq` of the event
   * that told of them, and injected where they say nothing. What was done is told by an event of its own.
   *
   * @throws {@link SeawallError} `ERR_INVALID_STATE` from any state but `paused`; `ERR_INVALID_OPTION` for a decision about
   * a failure that does not wait, and where an error that nobody can contain would be injected.
   */
  async resume(options: { decisions?: Map<number, Decision> } = {}): Promise<void> {
    const { decisions } = checkRecord(options, ['decisions'], 'options')
    await this.#run(this.#native.resume(toNativeDecisions(decisions)))
  }

  /** The failures whose abort waits, while the VM is paused or stopped. */
  pendingFailures(): MemoryFailure[] {
    const records = Records.of(this.#native.pendingFailures())
    return Array.from({ length: records.length }, (_, index) => {
      records.select(index)
      return this.#told(readFailure(records, this))
    })
  }

  /** What the VM has counted so far. Once it is closed, the last values stay. */
  stats(): VmStats {
    return toStats(this.#native.stats())
  }

  /**
   * Says that `length` bytes of guest RAM from `gpa` on are lost, before the guest needs them. Every page that they touch is
   * out of reach when the promise is fulfilled, and told by a `memory-failure` of source `reported`; one that is known to be
   * lost stays as it is. At most 4096 pages at a time.
   *
   * @throws {@link SeawallError} `ERR_GUEST_MEMORY` outside guest RAM, `ERR_QUARANTINE` where a page is still in reach,
   * `ERR_INVALID_STATE` once the VM has ended.
   */
  async reportPoison(gpa: bigint, length: number): Promise<void> {
    const bytes = checkInteger(length, 1, Number.MAX_SAFE_INTEGER, 'length')
    await this.#run(this.#native.reportPoison(checkU64(gpa, 'gpa'), BigInt(bytes)))
  }

  /**
   * Puts fresh zeroed memory in the place of the lost page around `gpa`. What the guest had there is gone for good: only its
   * owner can know that zeroes do as well. A failure on the page may then be decided by `resume`.
   *
   * @throws {@link SeawallError} `ERR_QUARANTINE` where the page is not lost, and for memory of huge pages;
   * `ERR_GUEST_MEMORY` outside guest RAM; `ERR_INVALID_STATE` once the VM has ended.
   */
  async replacePage(gpa: bigint): Promise<void> {
    await this.#run(this.#native.replacePage(checkU64(gpa, 'gpa')))
  }

  /** Ends the VM and says how it ended; at once where it has ended already. */
  async stop(): Promise<VmExit> {
    return toExit(await this.#run(this.#native.stop()))
  }

  /** Waits until the VM has ended, and says how. */
  async wait(): Promise<VmExit> {
    return toExit(await this.#run(this.#native.wait()))
  }

  /**
   * Ends the VM and gives everything back. May be called more than once, from every state, and always ends.
   */
  close(): Promise<{
    /** How many lost pages go back to the host without having been taken out of use there. */
    unretiredHostPages: number
  }> {
    this.#closing ??= this.#run(this.#native.close()).then((closed) => {
      this.#console.finish()
      for (const stream of [...this.#streams]) stream.end()
      return closed
    })
    return this.#closing
  }

  /** Closes the VM: `await using vm = await Vm.create(…)`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /**
   * The VM's events from now on, until it is closed or `signal` is aborted. A reader that is too slow loses the oldest,
   * and an `events-lost` event says which.
   *
   * @example
   * ```ts
   * for await (const event of vm.events()) console.log(event.seq, event.type)
   * ```
   *
   * @throws {@link SeawallError} `ERR_INVALID_OPTION` for a signal that is none.
   */
  events(options: { signal?: AbortSignal } = {}): AsyncIterableIterator<VmEvent> {
    const given = checkRecord(options, ['signal'], 'options')['signal']
    const signal = given === undefined ? undefined : checkSignal(given, 'signal')
    const abort = () => stream.end()
    const stream = new EventStream((ended) => {
      this.#streams.delete(ended)
      signal?.removeEventListener('abort', abort)
    })
    this.#streams.add(stream)
    signal?.addEventListener('abort', abort, { once: true })
    if (signal?.aborted || this.state === 'closed') stream.end()
    return stream
  }

  /** Lets a running VM keep the process alive, as it does by default. */
  ref(): this {
    this.#referenced = true
    this.#keepAlive?.ref()
    return this
  }

  /**
   * Lets the process end although the VM runs; the VM is then closed. A promise that is pending, such as that of
   * {@link Vm.wait}, holds the process all the same.
   */
  unref(): this {
    this.#referenced = false
    this.#keepAlive?.unref()
    return this
  }

  async #run<T>(operation: Promise<T | NativeError>): Promise<T> {
    const result = await operation
    // What happened before the operation ended is told before its promise is.
    for (let turn = 0; this.#drain(EVENTS_PER_TURN) >= EVENTS_PER_TURN && turn < TURNS_FOR_ALL; turn += 1)
      await new Promise(setImmediate)
    return unwrap(result)
  }

  /** Tells up to `most` events, and says how many there were: where that is `most`, there may be more. */
  #drain(most: number): number {
    events ??= Records.ofLength(EVENTS_PER_TURN)
    const batch = this.#native.takeEvents(most, events.buffer)
    const { failures, others, texts } = typeof batch === 'number' ? only(batch) : batch
    events.begin(texts)
    let told = 0
    for (let index = 0; index < failures; index += 1) {
      events.select(index)
      for (const before = othersBefore(events); told < before; told += 1) this.#emitOther(others[told])
      this.#emit(this.#told(readFailureEvent(events, this)))
    }
    for (; told < others.length; told += 1) this.#emitOther(others[told])
    this.#tell(() => this.#console.sendMore())
    this.#tell(() => this.#console.deliver())
    return failures + others.length
  }

  #emitOther(native: NativeEvent | undefined): void {
    if (native === undefined) return
    const event = toEvent(native)
    if (event.type === 'state-changed') this.#holdProcess(event.to === 'running')
    // The event that it runs, or does no more, may be among them.
    if (event.type === 'events-lost') this.#holdProcess(this.state === 'running')
    if (event.type === 'decision-fallback') this.#abandon(event.failure)
    // So may the event that a vCPU waits for an answer no more.
    if (event.type === 'events-lost')
      for (const [failure, context] of this.#asked) if (context.isLate) this.#abandon(failure)
    this.#emit(event)
  }

  #abandon(failure: number): void {
    Vm.#listener?.withdraw(this, failure)
    this.#asked.get(failure)?.abort()
    this.#asked.delete(failure)
  }

  #emit(event: VmEvent): void {
    if (this.#streams.size > 0) for (const stream of this.#streams) stream.push(event)
    try {
      ;(this as EventEmitter).emit(event.type, event)
    } catch (error) {
      throwLater(error)
    }
  }

  #tell(listeners: () => void): void {
    try {
      listeners()
    } catch (error) {
      throwLater(error)
    }
  }

  #answer(failure: MemoryFailure): number {
    const vcpu = this.vcpus[failure.vcpu ?? -1]
    const decide = this.#decide
    if (vcpu === undefined || decide === undefined) return NO_ANSWER
    const context = new DecisionContext(this, vcpu, this.#decisionTimeoutMs)
    const { seq } = failure
    const answer = ask(this.#native, seq, () => decide(failure, context))
    if (typeof answer === 'number') {
      context.end()
      return answer
    }
    context.pend()
    this.#asked.set(seq, context)
    void answer.finally(() => {
      this.#asked.delete(seq)
      context.end()
    })
    return NO_ANSWER
  }

  /** A failure as everybody but `decide` sees it. */
  #told<Failure extends MemoryFailure>(failure: Failure): Failure {
    return this.#redacted ? redact(failure) : failure
  }

  #holdProcess(running: boolean): void {
    clearInterval(this.#keepAlive)
    this.#keepAlive = undefined
    if (!running) return
    // The closure holds the VM, so that one that runs is not garbage.
    this.#keepAlive = setInterval(() => this.#drain(EVENTS_PER_TURN), KEEP_ALIVE_MS)
    if (!this.#referenced) this.#keepAlive.unref()
  }
}

/** A listener's error is the process's, as with any EventEmitter; everything else must still be told. */
function throwLater(error: unknown): void {
  queueMicrotask(() => {
    throw error
  })
}

function only(failures: number): NativeBatch {
  return { failures, others: NONE, texts: NONE }
}
