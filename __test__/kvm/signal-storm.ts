import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Guest } from './guest.ts'

/** That of a kick: it interrupts KVM_RUN, and whatever else of a VM's thread waits. Its handler restarts nothing. */
const KICK = 34
/** Between two signals at a thread. */
const MICROSECONDS = 500

/**
 * Runs something while signals storm at every thread of this process's VMs; how many there were. The program is the lab's.
 */
export async function inSignalStorm(run: () => Promise<void>): Promise<number> {
  // The first VM that runs installs the handler. Without, the signal ends the process.
  const first = await Guest.create('spin')
  await first.vm.start()
  await first.vm.close()
  const args = [process.pid, KICK, MICROSECONDS].map(String)
  const storm = spawn('signal-storm', [...args, 'vcpu-', 'vm-control'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  let raised = ''
  storm.stdout.setEncoding('utf8').on('data', (text: string) => {
    raised += text
  })
  try {
    await run()
  } finally {
    storm.stdin.end()
    await once(storm, 'close')
  }
  return Number(raised)
}
