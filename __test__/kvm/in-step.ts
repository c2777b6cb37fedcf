import { Guest } from './guest.ts'

const FIRST = 0x8010_0000n

/** What one vCPU of `__test__/guests/in-step.S` reports; the guest's first comment says what the words mean. */
interface Report {
  aborts: number
  before: number
  after: number
  wrong: number
}

/** vCPUs that load from the same lost pages at the same time. */
export class InStep {
  readonly guest: Guest
  /** The pages to be lost. */
  readonly pages: readonly bigint[]
  readonly #vcpus: number

  private constructor(guest: Guest, pages: readonly bigint[], vcpus: number) {
    this.guest = guest
    this.pages = pages
    this.#vcpus = vcpus
  }

  /**
   * Creates the guest; each vCPU loads `again` times from each of `pages` pages once it got an abort there. With `later`
   * the vCPUs after the first come later with every page; with `untouched` nobody has used the pages before.
   */
  static async create(options: {
    vcpus: number
    pages: number
    again: number
    later?: number
    untouched?: boolean
  }): Promise<InStep> {
    const { vcpus, pages, again, later = 0, untouched = false } = options
    const guest = await Guest.create('in-step', { vcpus, memoryFailure: { sameFaultLimit: 1_000_000 } })
    const words = new BigUint64Array((2 * pages + 1) * 512)
    for (const index of words.keys()) words[index] = FIRST + 8n * BigInt(index)
    for (let page = 0; page < 2 * pages + 1; page += untouched ? 2 : 1) {
      guest.vm.memory.write(
        FIRST + 0x1000n * BigInt(page),
        new Uint8Array(words.buffer, page * 0x1000, 0x1000),
      )
    }
    for (const [register, value] of [
      ['x0', pages],
      ['x2', vcpus],
      ['x3', again],
      ['x4', later],
    ] as const) {
      await guest.vm.vcpus[0]?.setRegister(register, BigInt(value))
    }
    const lost = Array.from({ length: pages }, (_, index) => FIRST + 0x1000n * BigInt(2 * index + 1))
    return new InStep(guest, lost, vcpus)
  }

  /** What every vCPU reported when the guest had ended. */
  reports(): Report[] {
    const lines = this.guest.console.split('\n')
    return Array.from({ length: this.#vcpus }, (_, vcpu) => {
      const begin = lines.indexOf(`cpu=0x${vcpu.toString(16).padStart(16, '0')}`)
      const words = lines.slice(begin + 1, begin + 5).map((line) => line.split('='))
      return Object.fromEntries(words.map(([word, value]) => [word, Number(value)])) as unknown as Report
    })
  }

  /** Closes the VM. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.guest.vm.close()
  }
}
