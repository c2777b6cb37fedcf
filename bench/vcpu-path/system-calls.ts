import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** The kernel's own tracing of every system call. */
const SYS_ENTER = '/sys/kernel/debug/tracing/events/raw_syscalls/sys_enter'

/** How many system calls the threads of this name make while `run` lasts. */
export async function countSystemCalls(thread: string, run: () => Promise<unknown>): Promise<number> {
  const trigger = `hist:keys=id if comm == "${thread}"`
  writeFileSync(join(SYS_ENTER, 'trigger'), trigger)
  try {
    await run()
    const [, hits] = /^\s*Hits: (\d+)$/m.exec(readFileSync(join(SYS_ENTER, 'hist'), 'utf8')) ?? []
    if (hits === undefined) throw new Error(`Expected system calls of ${thread} but received none`)
    return Number(hits)
  } finally {
    writeFileSync(join(SYS_ENTER, 'trigger'), `!${trigger}`)
  }
}
