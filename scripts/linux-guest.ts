import { join } from 'node:path'
import { type LinuxBoot, type MemoryFailureEvent, Vm, type VmExit, type VmOptions } from 'seawall'

const FOLDER = join('build', 'linux-guest')
/** The guest's kernel and its initial RAM disk, in the lab. */
export const KERNEL = join(FOLDER, 'Image')
export const INITRD = join(FOLDER, 'initrd.cpio')
/** Its kernel's own messages stay in its log, but for panics: a console of an emulated machine is slow. */
export const COMMAND_LINE = 'console=ttyS0 quiet panic=-1'
/**
 * How long a guest may take to say what is waited for. A boot takes 10 s where everything is emulated, and several times that on
 * a busy machine.
 */
const PATIENCE_MS = 240_000

/** The events that may be what is waited for. */
const EVENTS = ['memory-failure', 'page-state-changed', 'notification-failed', 'exit', 'guest-reset'] as const

/** The guest, with its own kernel or with one of Debian's, by version, that the lab was asked to bring (`guestKernel`). */
export function linuxOf(version: string | null): LinuxBoot {
  return linux(version === null ? KERNEL : `${KERNEL}-${version}`)
}

function linux(kernel: string): LinuxBoot {
  return { type: 'linux', kernel, initrd: INITRD, cmdline: COMMAND_LINE }
}

/** What the guest says of itself: `seawall: <word> <key>=<value> …`. */
export interface Report {
  readonly word: string
  readonly fields: Fields
}

export type Fields = Readonly<Record<string, string>>

/** Whether a report has this word and these fields. */
export function said(word: string, fields: Fields = {}): (report: Report) => boolean {
  const wanted = Object.entries(fields)
  return (report) => report.word === word && wanted.every(([key, value]) => report.fields[key] === value)
}

/** A Linux guest of the lab, by its console (lab/linux-guest/README.md). */
export class LinuxGuest implements AsyncDisposable {
  readonly vm: Vm
  readonly failures: MemoryFailureEvent[] = []
  /** Everything that the console has shown. */
  console = ''
  readonly #reports: Report[] = []
  #line = ''
  #changed: (() => void)[] = []
  #finished: Promise<VmExit> | undefined

  private constructor(vm: Vm) {
    this.vm = vm
    vm.on('memory-failure', (event) => this.failures.push(event))
    // `latin1`, because what is echoed need not be text.
    vm.console.setEncoding('latin1').on('data', (text: string) => this.#read(text))
    for (const event of EVENTS) vm.on(event, () => this.#notify())
  }

  /** Creates the VM, and does not start it. */
  static async create(options: Partial<VmOptions> = {}): Promise<LinuxGuest> {
    return new LinuxGuest(await Vm.create({ memory: 256 * 2 ** 20, boot: linux(KERNEL), ...options }))
  }

  /** Boots a guest up to where it takes commands. */
  static async boot(options: Partial<VmOptions> = {}): Promise<LinuxGuest> {
    const guest = await LinuxGuest.create(options)
    try {
      await guest.vm.start()
      await guest.report('ready')
      return guest
    } catch (error) {
      await guest.vm.close()
      throw error
    }
  }

  /** Sends a command. */
  send(command: string): void {
    this.vm.console.write(`${command}\n`)
  }

  /** Sends a command and waits for its answer. */
  async ask(command: string, word: string): Promise<Report> {
    this.send(command)
    return await this.report(word)
  }

  /** Waits for the next report with this word, and takes it; the others stay. */
  async report(word: string, fields: Fields = {}): Promise<Report> {
    return await this.until(`a report ${word} ${JSON.stringify(fields)}`, () =>
      this.#take(said(word, fields)),
    )
  }

  /** The same for a guest that may not live to say it: null where it has ended, or has not said it in that time. */
  async hear(isWanted: (report: Report) => boolean, patienceMs: number): Promise<Report | null> {
    const heard = await this.#wait(() => this.#take(isWanted), patienceMs)
    if (heard !== undefined || !this.hasEnded) return heard ?? null
    // What it said to the last may still have to be read.
    await this.finish()
    return this.#take(isWanted) ?? null
  }

  /** Whether the guest has ended. */
  get hasEnded(): boolean {
    return ['stopped', 'failed', 'closed'].includes(this.vm.state)
  }

  /** Waits until the guest's console, its events or its end make `find` find something. */
  async until<T>(what: string, find: () => T | undefined, patienceMs = PATIENCE_MS): Promise<T> {
    const found = await this.#wait(find, patienceMs)
    if (found !== undefined) return found
    const limit = this.hasEnded ? `but the VM is ${this.vm.state}` : `within ${patienceMs / 1000} s`
    throw new Error(`Expected ${what} ${limit}; ${this.#last()}`)
  }

  /** Waits for the guest's end, and for all it said; the VM is closed then. */
  finish(): Promise<VmExit> {
    this.#finished ??= this.#finish()
    return this.#finished
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.vm.close()
  }

  async #finish(): Promise<VmExit> {
    const { console } = this.vm
    // Where the VM was closed before, the end may have been told.
    const ended = console.readableEnded || new Promise((resolve) => console.once('end', resolve))
    const exit = await this.vm.wait()
    await this.vm.close()
    await ended
    return exit
  }

  #take(isWanted: (report: Report) => boolean): Report | undefined {
    const index = this.#reports.findIndex(isWanted)
    return index < 0 ? undefined : this.#reports.splice(index, 1)[0]
  }

  async #wait<T>(find: () => T | undefined, patienceMs: number): Promise<T | undefined> {
    const deadline = performance.now() + patienceMs
    for (;;) {
      const found = find()
      const left = deadline - performance.now()
      if (found !== undefined || left <= 0 || this.hasEnded) return found
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left)
        this.#changed.push(() => {
          clearTimeout(timer)
          resolve()
        })
      })
    }
  }

  #read(text: string): void {
    this.console += text
    const lines = (this.#line + text).split('\n')
    this.#line = lines.pop() ?? ''
    for (const line of lines) {
      const [, word, rest] = /seawall: (\S+)(.*?)\r?$/.exec(line) ?? []
      if (word === undefined || rest === undefined) continue
      const fields = [...rest.matchAll(/(\S+?)=(\S*)/g)].map(([, key = '', value = '']) => [key, value])
      this.#reports.push({ word, fields: Object.fromEntries(fields) })
    }
    this.#notify()
  }

  #notify(): void {
    for (const changed of this.#changed.splice(0)) changed()
  }

  #last(): string {
    return `the console said last: ${JSON.stringify(this.console.slice(-2000))}`
  }
}
