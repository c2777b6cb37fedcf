import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { constants } from 'node:os'

const living = new Set<ChildProcess>()
let watching = false

// The kernel sends SIGKILL to the child when this process dies, however it dies; handlers cannot promise that.
const pdeathsig = existsSync('/usr/bin/setpriv') ? ['/usr/bin/setpriv', '--pdeathsig', 'KILL', '--'] : []

function killAll(): void {
  for (const child of living) child.kill('SIGKILL')
}

function watchExit(): void {
  if (watching) return
  watching = true
  process.on('exit', killAll)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      killAll()
      process.exit(128 + constants.signals[signal])
    })
  }
}

/** Starts a child which never outlives this process. */
export function startChild(command: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  watchExit()
  const [program = command, ...rest] = [...pdeathsig, command, ...args]
  const child = spawn(program, rest, options)
  living.add(child)
  child.once('close', () => living.delete(child))
  child.once('error', () => living.delete(child))
  return child
}
