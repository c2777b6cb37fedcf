import { type Ended, runChild } from './child.ts'
import { CALLBACK_NAMES } from './close-inside.ts'
import type { Row } from './trial.ts'

/** How a process ends: its exit code or signal, by what ends it. Abrupt ones are the kernel's. */
const EXPECTED: Readonly<Record<string, number | string>> = {
  'process.exit()': 7,
  'process.exit() that runs into another': 7,
  'process.reallyExit()': 7,
  'an uncaught exception': 1,
  'an unhandled rejection': 1,
  SIGTERM: 'SIGTERM',
  SIGINT: 'SIGINT',
  SIGKILL: 'SIGKILL',
  'SIGTERM that closes the VMs': 7,
  'nothing left to do': 7,
  'close() and nothing left to do': 7,
}

/** What a process must not have said, however it ended. */
const CRASH = /panicked|FATAL ERROR|[Aa]ssert|double free|corrupt/

async function ends(name: string, args: string[], expected: number | string, rounds: number): Promise<Row> {
  const row = { part: 'ends', name: `a process ends by ${name}`, measured: { rounds } }
  for (let round = 0; round < rounds; round += 1) {
    const ended = await runChild(process.execPath, ['build/bench/soak/end-run.js', ...args])
    const detail = complaint(ended, expected)
    if (detail !== null) return { ...row, outcome: 'failed', detail }
  }
  return { ...row, outcome: 'passed', detail: null }
}

function complaint({ code, signal, stderr }: Ended, expected: number | string): string | null {
  const received = signal ?? code
  if (received !== expected) return `Expected ${expected} but received ${received}:\n${stderr}`
  return CRASH.test(stderr) ? stderr : null
}

/** Ends processes in the middle of things, each way `rounds` times; inside every callback too, unless told otherwise. */
export async function runEnds(
  rounds: number,
  onRow: (row: Row) => void,
  { callbacks = true } = {},
): Promise<void> {
  for (const [name, expected] of Object.entries(EXPECTED)) onRow(await ends(name, [name], expected, rounds))
  for (const name of callbacks ? CALLBACK_NAMES : []) {
    onRow(await ends(`process.exit() inside ${name}`, ['', name], 7, Math.ceil(rounds / 5)))
  }
}
