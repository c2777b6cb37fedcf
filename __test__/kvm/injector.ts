import { closeSync, openSync, writeSync } from 'node:fs'

/** The lab's kernel module, which makes KVM see memory errors on chosen pages of a process's guests. */
export class Injector {
  readonly #file = openSync('/dev/sea-inject', 'r+')
  readonly #pid: number
  #rules = 0

  /** Of the guests of this process, or of another one. */
  constructor(pid = process.pid) {
    this.#pid = pid
  }

  /** Arms the page at guest-physical address `gpa`, or `bytes` from there, by a rule such as `fsc=0x10 set=2`. */
  arm(rule: string, gpa = 0x8010_0000n, bytes = 0x1000n): void {
    this.#rules += 1
    const range = `start=0x${gpa.toString(16)} end=0x${(gpa + bytes).toString(16)}`
    writeSync(this.#file, `arm id=${this.#rules} tgid=${this.#pid} ${range} ${rule}\n`)
  }

  /** Disarms everything. */
  [Symbol.dispose](): void {
    closeSync(this.#file)
  }
}
