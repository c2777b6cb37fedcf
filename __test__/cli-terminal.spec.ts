import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'
import type { SimulatedStep } from 'seawall'
import { ScriptedGuest } from './cli/child.ts'
import { holds, parseLog, readLog, statesIn } from './cli/log.ts'
import { PseudoTerminal, TerminalProgram } from './cli/pseudo-terminal.ts'

const CTRL_A = '\x01'
const ready: SimulatedStep = { step: 'print', text: 'ready\n' }
const lost: SimulatedStep = { step: 'sea', esr: 0x9200_0010n, gpa: 0x8001_0000n, far: 0x4000_0010n }

const program = new TerminalProgram()
test.after.always(() => program[Symbol.dispose]())

/**
 * Starts the tool at a terminal, and waits until the terminal is in raw mode and the guest waits for somebody to let it go on.
 */
async function start(
  t: ExecutionContext,
  steps: SimulatedStep[],
  env: Record<string, string> = {},
  ...args: string[]
) {
  const guest = new ScriptedGuest(t, ready, lost, ...steps)
  const events = guest.file('events.ndjson')
  const tool = [process.execPath, ...guest.args('--policy', 'pause', '--events', events, ...args)]
  // Some signals leave a core dump.
  const command = ['sh', '-c', 'ulimit -c 0; exec "$0" "$@"', ...tool]
  const terminal = new PseudoTerminal(program, command, { ...guest.env, ...env })
  t.teardown(() => terminal.hangUp())
  await terminal.happens('mode unchanged')
  await terminal.happens('mode changed')
  await terminal.shows(/^seawall: the guest is paused; Ctrl-a p lets it go on, Ctrl-a x ends it\r$/m)
  await terminal.shows(/^ready\r$/m)
  return { terminal, states: () => statesIn(readLog(events)) }
}

const goOn = (terminal: PseudoTerminal) => terminal.type(`${CTRL_A}p`)
const PAUSED = ['running', 'paused']
const WENT_ON = [...PAUSED, 'running']
const CLOSED = ['stopped', 'closed']
for (const [way, leave, end, steps, states] of [
  ['the guest shuts down', goOn, 'exit 0', [{ step: 'shutdown' }], [...WENT_ON, ...CLOSED]],
  ['the guest crashes', goOn, 'exit 4', [{ step: 'crash' }], [...WENT_ON, ...CLOSED]],
  ['the guest fails', goOn, 'exit 6', [{ step: 'fail', errno: 5 }], [...WENT_ON, 'failed', 'closed']],
  ['Ctrl-a x', (terminal) => terminal.type(`${CTRL_A}x`), 'exit 7', [], [...PAUSED, ...CLOSED]],
  ['SIGINT', (terminal) => terminal.kill('SIGINT'), 'exit 130', [], [...PAUSED, ...CLOSED]],
  ['SIGTERM', (terminal) => terminal.kill('SIGTERM'), 'exit 143', [], [...PAUSED, ...CLOSED]],
  ['SIGHUP', (terminal) => terminal.kill('SIGHUP'), 'exit 129', [], [...PAUSED, ...CLOSED]],
  ['SIGQUIT', (terminal) => terminal.kill('SIGQUIT'), 'exit 131', [], [...PAUSED, ...CLOSED]],
] as [string, (terminal: PseudoTerminal) => void, string, SimulatedStep[], string[]][]) {
  test.serial(`the terminal is as it was, by ${way}`, async (t) => {
    const { terminal, states: seen } = await start(t, steps)
    leave(terminal)
    t.deepEqual(await terminal.ends(), [end, 'left unchanged'], terminal.screen)
    t.deepEqual(seen(), states)
  })
}

test.serial(
  'with --ui the terminal is as it was when the guest has ended, and Ctrl-c ends the tool',
  async (t) => {
    const { terminal } = await start(t, [{ step: 'shutdown' }], {}, '--ui')
    goOn(terminal)
    await terminal.shows(/^seawall: the live view stays at \S+ until Ctrl-c\r$/m)
    terminal.type('\x03')
    t.deepEqual(await terminal.ends(), ['exit 0', 'left unchanged'], terminal.screen)
  },
)

test.serial('with --ui too Ctrl-a x ends the tool', async (t) => {
  const { terminal } = await start(t, [], {}, '--ui')
  terminal.type(`${CTRL_A}x`)
  t.deepEqual(await terminal.ends(), ['exit 7', 'left unchanged'], terminal.screen)
})

test.serial('the terminal is as it was, by an exception that nobody catches', async (t) => {
  const { terminal } = await start(t, [], { SEAWALL_DEFECT: 'throw' })
  terminal.kill('SIGUSR2')
  t.deepEqual(await terminal.ends(), ['exit 1', 'left unchanged'])
  t.true(terminal.screen.includes('Error: thrown on purpose'), terminal.screen)
})

for (const [signal, number] of [
  ['SIGTRAP', 5],
  ['SIGABRT', 6],
  ['SIGUSR2', 12],
  ['SIGALRM', 14],
  ['SIGSTKFLT', 16],
  ['SIGXCPU', 24],
  ['SIGVTALRM', 26],
  ['SIGIO', 29],
  ['SIGPWR', 30],
  ['SIGSYS', 31],
] as const) {
  test.serial(`the terminal is as it was, by ${signal}, which ends the tool at once`, async (t) => {
    const { terminal } = await start(t, [])
    terminal.kill(signal)
    t.deepEqual(await terminal.ends(), [`signal ${number}`, 'left unchanged'], terminal.screen)
  })
}

test.serial('the terminal is as it was, by process.exit()', async (t) => {
  const { terminal } = await start(t, [], { SEAWALL_DEFECT: 'exit' })
  terminal.kill('SIGUSR2')
  t.deepEqual(await terminal.ends(), ['exit 9', 'left unchanged'])
})

test.serial(
  'the terminal is as it was while the tool is stopped, and raw again when it goes on',
  async (t) => {
    const { terminal, states } = await start(t, [{ step: 'shutdown' }])
    terminal.kill('SIGTSTP')
    await terminal.happens('mode unchanged')
    await terminal.happens('stopped')
    terminal.kill('SIGCONT')
    await terminal.happens('continued')
    await terminal.happens('mode changed')
    goOn(terminal)
    t.deepEqual(await terminal.ends(), ['exit 0', 'left unchanged'])
    t.deepEqual(states(), [...WENT_ON, ...CLOSED])
  },
)

test.serial('the terminal is as it was, by a second signal', async (t) => {
  const errors = Array.from({ length: 500 }, (_, page) => ({
    ...lost,
    gpa: 0x8001_0000n + BigInt(page) * 4096n,
  }))
  const guest = new ScriptedGuest(t, ready, ...errors, { step: 'spin' })
  const pipe = guest.file('pipe')
  execFileSync('mkfifo', [pipe])
  // Nobody reads the log, which is more than a pipe holds: that is what keeps the tool after the first signal.
  const reader = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK)
  const terminal = new PseudoTerminal(program, [process.execPath, ...guest.args('--events', pipe)], guest.env)
  await terminal.happens('mode changed')
  await terminal.shows(/in page 0x80203000,/)
  terminal.kill('SIGTERM')
  terminal.kill('SIGHUP')
  const [end, left] = await terminal.ends()
  closeSync(reader)
  t.regex(end ?? '', /^signal (1|15)$/)
  t.is(left, 'left unchanged')
})

test.serial('a terminal that hangs up ends the guest in good order', async (t) => {
  const { terminal, states } = await start(t, [])
  terminal.hangUp()
  t.deepEqual(await terminal.ends(), ['exit 129', 'left gone'])
  t.deepEqual(states(), [...PAUSED, ...CLOSED])
})

test.serial('Ctrl-c and what else the terminal would act on are for the guest', async (t) => {
  const { terminal } = await start(t, [{ step: 'shutdown' }])
  // Ctrl-c, Ctrl-z, Ctrl-\ and Ctrl-d.
  terminal.type('\x03\x1a\x1c\x04')
  terminal.type(`${CTRL_A}h`)
  await terminal.shows(/^Ctrl-a x +ends the guest\r$/m)
  terminal.type(`${CTRL_A}s`)
  await terminal.shows(/^seawall: memory errors 1, lost pages 1, lost events 0; exits: .*\barm-sea 1\b.*\r$/m)
  // A key that means nothing.
  terminal.type(`${CTRL_A}z`)
  goOn(terminal)
  t.deepEqual(await terminal.ends(), ['exit 0', 'left unchanged'])
})

test.serial('Ctrl-a p pauses a guest that runs', async (t) => {
  const { terminal, states } = await start(t, [{ step: 'print', text: 'on\n' }, { step: 'spin' }])
  goOn(terminal)
  await terminal.shows(/^on\r$/m)
  terminal.screen = ''
  terminal.type(`${CTRL_A}p`)
  await terminal.shows(/^seawall: the guest is paused; /m)
  terminal.type(`${CTRL_A}x`)
  t.deepEqual(await terminal.ends(), ['exit 7', 'left unchanged'])
  t.deepEqual(states(), [...WENT_ON, 'paused', ...CLOSED])
})

test.serial('a message begins a line of its own', async (t) => {
  const guest = new ScriptedGuest(t, { step: 'print', text: 'login: ' }, { step: 'shutdown' })
  const terminal = new PseudoTerminal(program, [process.execPath, ...guest.args()], guest.env)
  await terminal.ends()
  t.true(terminal.screen.endsWith('login: \r\nseawall: the guest has shut down\r\n'), terminal.screen)
})

test.serial(
  'a terminal that shows nothing for a while holds up the log of events, and nothing else',
  async (t) => {
    const pages = Array.from({ length: 20 }, (_, page) => ({
      ...lost,
      gpa: 0x8001_0000n + BigInt(page) * 4096n,
    }))
    const guest = new ScriptedGuest(t, ready, ...pages, { step: 'shutdown' })
    const output = guest.file('output')
    // Ctrl-s stops what the terminal shows before the tool begins.
    const script = 'stty -echo; echo type; read -r _; exec "$0" "$@" </dev/null >"$OUTPUT" 2>&1'
    const command = ['sh', '-c', script, process.execPath, ...guest.args('--events', '/dev/tty', '--json')]
    const terminal = new PseudoTerminal(program, command, { ...guest.env, OUTPUT: output })
    t.teardown(() => terminal.hangUp())
    await terminal.shows('type')
    terminal.type('\x13\n')
    await holds(output, /^ready$/m)
    await holds(output, /memory error in page 0x80023000/)
    t.is(terminal.screen, 'type\r\n')
    terminal.type('\x11')
    const [end] = await terminal.ends()
    t.is(end, 'exit 0', terminal.screen)
    const log = parseLog(terminal.screen.replace('type\r\n', '').replaceAll('\r\n', '\n'))
    t.is(log.filter(({ type }) => type === 'memory-failure').length, pages.length)
  },
)

test.serial('input that is no terminal leaves the terminal alone', async (t) => {
  const guest = new ScriptedGuest(t, ready, lost, { step: 'shutdown' })
  const tool = [process.execPath, ...guest.args('--policy', 'pause')]
  const terminal = new PseudoTerminal(program, ['sh', '-c', 'exec "$0" "$@" </dev/null', ...tool], guest.env)
  await terminal.happens('mode unchanged')
  await terminal.shows(/^seawall: the guest is paused; SIGTERM ends it\r$/m)
  // Ctrl-c, which the terminal acts on here.
  terminal.type('\x03')
  t.deepEqual(await terminal.ends(), ['exit 130', 'left unchanged'])
  t.false(terminal.reports.includes('mode changed'))
})
