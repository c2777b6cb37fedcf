import { readFileSync, writeFileSync } from 'node:fs'
import { startChild } from './children.ts'
import { LabError } from './errors.ts'
import { say } from './progress.ts'

/**
 * Runs `action` while this process alone holds the lock file.
 *
 * flock(1) holds the lock for as long as our pipe to it is open. So the kernel frees it when this process ends,
 * however it ends, and there is no stale lock to take over; the pid in the file is only for the waiting line.
 */
export async function withLock<T>(path: string, action: () => Promise<T>): Promise<T> {
  const holder = startChild('flock', ['--exclusive', path, 'sh', '-c', 'echo held; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const { stdin, stdout } = holder
  if (stdin === null || stdout === null) throw new Error('flock was started without pipes')
  const waiting = setTimeout(() => say(`waiting for process ${holderOf(path)}, which builds the same`), 500)
  try {
    await new Promise<void>((resolve, reject) => {
      holder.once('error', (cause) =>
        reject(
          new LabError('missing-tool', 'Expected flock (package util-linux) to lock the cache', { cause }),
        ),
      )
      holder.once('exit', (code) =>
        reject(new LabError('command-failed', `Expected flock to lock ${path} but it ended with ${code}`)),
      )
      stdout.once('data', () => resolve())
    })
  } finally {
    clearTimeout(waiting)
  }
  const released = new Promise<void>((resolve) => holder.once('close', () => resolve()))
  try {
    writeFileSync(path, `${process.pid}\n`)
    return await action()
  } finally {
    stdin.end()
    await released
  }
}

function holderOf(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim() || 'unknown'
  } catch {
    return 'unknown'
  }
}
