import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'

// Stdin is handed on by hand: a shell gives its background commands none.
const LEADER = 'trap "trap : TERM; kill 0" TERM; exec 3<&0; "$@" <&3 3<&- & wait $!'

/**
 * Starts a child which never outlives this process: the kernel sends it SIGKILL when this process (to be
 * exact, the thread that called) ends, however it ends. Handlers of our own could not promise that, and would change what a signal does to the program that uses the lab.
 */
export function startChild(command: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  return spawn('setpriv', ['--pdeathsig', 'KILL', '--', command, ...args], options)
}

/** Starts a child that has children of its own: when this process ends, all of them get SIGTERM. */
export function startFamily(command: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  const leader = ['--pdeathsig', 'TERM', '--', 'sh', '-c', LEADER, 'sh', command, ...args]
  return spawn('setpriv', leader, { ...options, detached: true })
}
