import type { MemoryFailureEvent, VmExit } from '../events.ts'
import { jsonReplacer } from '../json.ts'
import type { Vm } from '../vm.ts'
import { ESCAPE_HELP, type EscapeCommand } from './escape.ts'
import type { EventLog } from './event-log.ts'
import { GUEST_EXIT_CODE, signalExitCode } from './exit-code.ts'
import { connectInput, connectKeyboard, connectOutput, discardOutput } from './guest-console.ts'
import type { LiveView } from './live-view/live-view.ts'
import { Messages } from './messages.ts'
import type { RunOptions } from './run-options.ts'
import { SignalTrap } from './signal-trap.ts'
import { Terminal } from './terminal.ts'
import { exitWords, failureWords, statsWords } from './words.ts'

/** How a guest's run has ended, and what it has lost. */
interface Ending {
  readonly exit: VmExit
  readonly lostPages: number
  readonly unretiredHostPages: number
}

/** A guest's run from its first instruction to its end, with the process's streams, its terminal and its signals. */
export class Session {
  readonly #vm: Vm
  readonly #options: RunOptions
  readonly #messages: Messages
  readonly #terminal: Terminal | null
  #stopping = false
  #hearSignal = () => {}
  /** Fulfilled by the first signal that asks the process to end. */
  readonly #signalled = new Promise<void>((resolve) => {
    this.#hearSignal = resolve
  })

  constructor(vm: Vm, options: RunOptions) {
    this.#vm = vm
    this.#options = options
    this.#messages = new Messages(options.quiet)
    this.#terminal = options.console && process.stdin.isTTY ? new Terminal(process.stdin) : null
  }

  /** Runs the guest to its end and closes the VM, and then the view, when nobody is to look any more. Answers the exit code. */
  async run(log: EventLog | null, view: LiveView | null): Promise<number> {
    const trap = new SignalTrap(
      () => this.#stop(),
      () => this.#terminal?.[Symbol.dispose](),
    )
    try {
      const ending = await this.#runGuest(log, view)
      const signal = trap.received
      // Who has ended the guest himself has seen it.
      const stays = signal === null && ending.exit.reason !== 'requested' ? view : null
      const exitCode = this.#conclude(ending, signal, stays)
      if (stays !== null) await this.#signalled
      return exitCode
    } finally {
      await view?.close()
      trap[Symbol.dispose]()
    }
  }

  async #runGuest(log: EventLog | null, view: LiveView | null): Promise<Ending> {
    const vm = this.#vm
    const told = [this.#connectOutput(), this.#follow(log), view?.ended]
    if (view !== null) this.#messages.insist(`the live view is at ${view.url}`)
    this.#listen()
    this.#terminal?.enter()
    const disconnect = this.#connectInput()
    let ended: { exit: VmExit; lostPages: number }
    try {
      await this.#start()
      ended = { exit: await vm.wait(), lostPages: vm.poisonedPages().length }
    } finally {
      disconnect()
      await vm.close()
      // All that the guest has said and all that has happened to it, for as long as somebody reads.
      await Promise.all(told)
      this.#terminal?.[Symbol.dispose]()
    }
    return { ...ended, ...(await vm.close()) }
  }

  #connectOutput(): Promise<void> {
    const { console } = this.#vm
    if (!this.#options.console) return discardOutput(console)
    const ended = connectOutput(console, (code) =>
      this.#messages.insist(
        `standard output cannot be written (${code}): the guest's output is lost from here on`,
      ),
    )
    this.#messages.beside(console)
    return ended
  }

  #connectInput(): () => void {
    const { console } = this.#vm
    if (!this.#options.console) return () => {}
    if (this.#terminal !== null) return connectKeyboard(console, (command) => void this.#obey(command))
    return connectInput(console, (code) => this.#messages.insist(`standard input cannot be read (${code})`))
  }

  async #follow(log: EventLog | null): Promise<void> {
    const { events } = this.#options
    await log?.follow(this.#vm.events(), (code) =>
      this.#messages.insist(`${events} cannot be written (${code}): events are lost from here on`),
    )
  }

  #listen(): void {
    this.#vm.on('memory-failure', (event) => {
      if (isNews(event)) this.#messages.say(failureWords(event))
    })
    this.#vm.on('guest-reset', () => this.#messages.say('the guest boots again'))
    this.#vm.on('state-changed', ({ to }) => {
      if (to !== 'paused') return
      const keys = this.#terminal === null ? 'SIGTERM ends it' : 'Ctrl-a p lets it go on, Ctrl-a x ends it'
      this.#messages.say(`the guest is paused; ${keys}`)
    })
    if (typeof this.#options.vm.backend === 'object')
      this.#messages.say('a script plays this guest, and nothing of it is real')
    if (this.#terminal !== null) this.#messages.say('Ctrl-a h says what the keys are')
  }

  async #start(): Promise<void> {
    try {
      await this.#vm.start()
    } catch (error) {
      // Who was told to stop before it has started, has.
      if (!this.#stopping) throw error
    }
  }

  #stop(): void {
    this.#stopping = true
    this.#hearSignal()
    // How it went is what wait() answers.
    this.#vm.stop().catch(() => {})
  }

  async #obey(command: EscapeCommand): Promise<void> {
    const vm = this.#vm
    switch (command) {
      case 'quit':
        this.#stop()
        break
      case 'help':
        this.#messages.line(ESCAPE_HELP)
        break
      case 'stats':
        this.#messages.insist(statsWords(vm.stats(), vm.poisonedPages().length))
        break
      case 'pause':
        try {
          await (vm.state === 'paused' ? vm.resume() : vm.pause())
        } catch (error) {
          this.#messages.insist(error instanceof Error ? error.message : String(error))
        }
    }
  }

  #conclude(
    { exit, lostPages, unretiredHostPages }: Ending,
    signal: NodeJS.Signals | null,
    stays: LiveView | null,
  ): number {
    const exitCode = signal === null ? GUEST_EXIT_CODE[exit.reason] : signalExitCode(signal)
    const memoryFailures = Number(this.#vm.stats().failures)
    const ended = signal === null ? exitWords(exit) : `${exitWords(exit)} (${signal})`
    const lost = `memory errors: ${memoryFailures}, lost pages: ${lostPages}, given back to the host: ${unretiredHostPages}`
    if (exit.reason === 'failed') this.#messages.insist(ended)
    else this.#messages.say(memoryFailures === 0 ? ended : `${ended}; ${lost}`)
    if (stays !== null) this.#messages.insist(`the live view stays at ${stays.url} until Ctrl-c`)
    if (this.#options.json) {
      const { id, name } = this.#vm
      const counted = { memoryFailures, lostPages, unretiredHostPages }
      const document = { exitCode, error: null, vm: { id, name }, exit, signal, ...counted }
      this.#messages.line(JSON.stringify(document, jsonReplacer))
    }
    return exitCode
  }
}

/** Whether a failure is worth a line: a page in quarantine may be hit without end. */
function isNews({ page, action }: MemoryFailureEvent): boolean {
  return page === null || page.first || action === 'pause' || action === 'stop'
}
