import { setTimeout } from 'node:timers/promises'
import { type MemoryFailureEvent, Vm, type VmExit, type VmOptions } from 'seawall'

/** A micro-guest, and what was seen of it. */
export class Guest {
  readonly vm: Vm
  readonly failures: MemoryFailureEvent[] = []
  /** Resolves when the guest has printed `ready`. */
  readonly ready: Promise<void>
  /** What the guest has printed so far. */
  console = ''

  private constructor(vm: Vm) {
    this.vm = vm
    vm.on('memory-failure', (event) => this.failures.push(event))
    this.ready = new Promise((resolve) => {
      vm.console.setEncoding('utf8').on('data', (text: string) => {
        this.console += text
        if (this.console.includes('ready')) resolve()
      })
    })
  }

  /** Creates a VM for the micro-guest `__test__/guests/<name>.S`. */
  static async create(name: string, options: Partial<VmOptions> = {}): Promise<Guest> {
    const boot = { type: 'flat', image: `build/guests/${name}.bin` } as const
    return new Guest(await Vm.create({ memory: 4 * 2 ** 20, boot, ...options }))
  }

  /** Waits until there are `count` failures, and returns the last of them. */
  async failure(count: number): Promise<MemoryFailureEvent> {
    for (;;) {
      const failure = this.failures[count - 1]
      if (failure !== undefined) return failure
      await setTimeout(10)
    }
  }

  /** Waits for the guest's end, and for all it said; the VM is closed then. */
  async finish(): Promise<VmExit> {
    const ended = new Promise((resolve) => this.vm.console.once('end', resolve))
    const exit = await this.vm.wait()
    await this.vm.close()
    await ended
    return exit
  }

  /** Closes the VM. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.vm.close()
  }
}
