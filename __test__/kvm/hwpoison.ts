import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const RAM = 0x8000_0000n

/**
 * Makes the lab's kernel lose the page at guest-physical address `gpa`, as it does when the firmware reports its error; `nth`
 * counts this process's guests. The program is the lab's.
 */
export async function hwpoison(gpa: bigint, nth = 0): Promise<string> {
  const args = [`--nth=${nth}`, String(process.pid), `0x${(gpa - RAM).toString(16)}`]
  const { stdout } = await promisify(execFile)('hwpoison', args)
  return stdout.trim()
}
