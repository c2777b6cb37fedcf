import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const RAM = 0x8000_0000n

/** Takes the page at guest-physical address `gpa` out of stage 2, so that its next access faults. The program is the lab's. */
export async function zap(gpa: bigint): Promise<void> {
  await promisify(execFile)('zap', [String(process.pid), `0x${(gpa - RAM).toString(16)}`])
}
