import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import test from 'ava'
import type { SimulatedStep } from 'seawall'
import { Child, type Ended, ScriptedGuest, seawall } from './cli/child.ts'
import { holds, parseLog, readLog } from './cli/log.ts'

/** An application that loads from a lost page. */
const lost: SimulatedStep = { step: 'sea', esr: 0x9200_0010n, gpa: 0x8001_0000n, far: 0x4000_0010n }
const elsewhere: SimulatedStep = { ...lost, gpa: 0x8002_0000n }
/** More than a pipe holds, and less than a VM keeps for whoever is slow to read. */
const FLOOD = 'x'.repeat(512 * 1024)

function lastLine({ stderr }: Ended) {
  return JSON.parse(stderr.trimEnd().split('\n').at(-1) ?? '')
}

const BY_POLICY = 'the guest was stopped by the policy for memory errors'
for (const [reason, code, words, steps, args] of [
  ['shutdown', 0, 'the guest has shut down', [{ step: 'shutdown' }], []],
  ['reset', 3, 'the guest asked for a reset', [{ step: 'reset' }], []],
  ['crash', 4, 'the guest has crashed', [{ step: 'crash' }], []],
  ['policy', 5, BY_POLICY, [lost], ['--policy', 'stop']],
  ['policy', 5, BY_POLICY, [lost, elsewhere], ['--threshold', '2']],
  ['failed', 6, 'the guest cannot go on: ERR_KVM_IOCTL: ', [{ step: 'fail', errno: 5 }], []],
] as [string, number, string, SimulatedStep[], string[]][]) {
  test.serial(`a guest that ends by ${[reason, ...args].join(' ')} makes exit code ${code}`, async (t) => {
    const guest = new ScriptedGuest(t, { step: 'print', text: 'ready\n' }, ...steps)
    const ended = await guest.run('--name', 'one', '--json', ...args)
    t.like(ended, { code, signal: null, stdout: 'ready\n' })
    t.true(ended.stderr.includes(`seawall: ${words}`), ended.stderr)
    const { exit, vm, ...rest } = lastLine(ended)
    t.like(exit, { reason, vcpu: 0 })
    t.is(exit.error?.code, reason === 'failed' ? 'ERR_KVM_IOCTL' : undefined)
    t.regex(vm.id, /^[0-9a-f-]{36}$/)
    t.is(vm.name, 'one')
    const pages = steps.filter(({ step }) => step === 'sea').length
    const counted = { memoryFailures: pages, lostPages: pages, unretiredHostPages: pages }
    t.deepEqual(rest, { exitCode: code, error: null, signal: null, ...counted })
  })
}

test.serial(
  'the console is standard output, byte by byte, and what the tool says is not in it',
  async (t) => {
    const text = '\u0000\r\n\u001b[31mred\u0007 \u00e9\n no end'
    const ended = await new ScriptedGuest(t, { step: 'print', text }, lost, { step: 'shutdown' }).run()
    t.like(ended, { code: 0, stdout: text })
    const said = ended.stderr.split('\n')
    t.is(said.length, 3, ended.stderr)
    t.regex(
      said[0] ?? '',
      /^seawall: memory error in page 0x80010000, met in user mode by vCPU 0: inject \(.*\)$/,
    )
    t.is(
      said[1],
      'seawall: the guest has shut down; memory errors: 1, lost pages: 1, given back to the host: 1',
    )
  },
)

test.serial('--quiet says nothing, and --json is still the last line', async (t) => {
  const guest = new ScriptedGuest(t, lost, { step: 'shutdown' })
  t.like(await guest.run('--quiet'), { code: 0, stderr: '' })
  const { stderr } = await guest.run('-q', '--json')
  t.is(stderr.split('\n').length, 2)
  t.is(JSON.parse(stderr).exit.reason, 'shutdown')
})

test.serial('--no-console leaves the output out', async (t) => {
  const guest = new ScriptedGuest(t, { step: 'print', text: FLOOD }, { step: 'shutdown' })
  t.like(await guest.run('--no-console'), { code: 0, stdout: '' })
})

test.serial('--events appends every event to a file, from the first to the last', async (t) => {
  const guest = new ScriptedGuest(t, lost, { step: 'shutdown' })
  const events = guest.file('events.ndjson')
  t.is((await guest.run('--events', events)).code, 0)
  const first = readFileSync(events, 'utf8')
  t.deepEqual(
    parseLog(first).map(({ type }) => type),
    ['state-changed', 'memory-failure', 'state-changed', 'exit', 'state-changed'],
  )
  t.is((await new ScriptedGuest(t, { step: 'crash' }).run('--events', events)).code, 4)
  const both = readFileSync(events, 'utf8')
  t.true(both.startsWith(first))
  t.deepEqual(
    parseLog(both.slice(first.length)).map(({ type }) => type),
    ['state-changed', 'state-changed', 'exit', 'state-changed'],
  )
})

test.serial('--events - is standard output', async (t) => {
  const guest = new ScriptedGuest(t, { step: 'print', text: 'not here' }, lost, { step: 'shutdown' })
  const { code, stdout } = await guest.run('--events', '-', '--no-console')
  t.is(code, 0)
  t.is(parseLog(stdout).length, 5)
})

test.serial('--events may be a pipe', async (t) => {
  const guest = new ScriptedGuest(t, lost, { step: 'shutdown' })
  const pipe = guest.file('pipe')
  execFileSync('mkfifo', [pipe])
  const [read, { code }] = await Promise.all([new Child('cat', [pipe]).ends(), guest.run('--events', pipe)])
  t.is(code, 0)
  t.notThrows(() => parseLog(read.stdout))
})

test.serial('a pipe whose reader goes away does not end the guest', async (t) => {
  const guest = new ScriptedGuest(t, { step: 'print', text: 'ready' }, { step: 'spin' })
  const pipe = guest.file('pipe')
  execFileSync('mkfifo', [pipe])
  const child = guest.start('--events', pipe)
  // It opens the pipe, which waits for the tool to do so too, and reads nothing.
  await new Child('sh', ['-c', 'exec 3<"$0"', pipe]).ends()
  await once(child.process.stdout, 'readable')
  child.process.kill('SIGTERM')
  const { code, stderr } = await child.ends()
  t.is(code, 143)
  t.true(stderr.includes(`seawall: ${pipe} cannot be written (EPIPE): `), stderr)
})

for (const args of [[], ['--quiet']]) {
  test.serial(`a full disk is said once, and the guest goes on ${args.join('')}`, async (t) => {
    const guest = new ScriptedGuest(t, lost, { step: 'print', text: 'hi\n' }, { step: 'crash' })
    const ended = await guest.run('--events', '/dev/full', ...args)
    t.like(ended, { code: 4, stdout: 'hi\n' })
    const complaints = ended.stderr.match(/^seawall: \/dev\/full cannot be written \(ENOSPC\): .*$/gm)
    t.is(complaints?.length, 1, ended.stderr)
  })
}

for (const full of [false, true]) {
  test.serial(`standard output may be ${full ? 'a disk that is full' : 'a file'}`, async (t) => {
    const guest = new ScriptedGuest(t, { step: 'print', text: FLOOD }, { step: 'crash' })
    const output = full ? '/dev/full' : guest.file('output')
    const script = ['-c', `exec "$0" "$@" >"${output}"`, process.execPath, ...guest.args()]
    const { code, stderr } = await new Child('sh', script, { env: guest.env }).ends()
    t.is(code, 4, stderr)
    const complaint = 'seawall: standard output cannot be written (ENOSPC): '
    t.is(stderr.includes(complaint), full, stderr)
    if (!full) t.true(readFileSync(output, 'utf8') === FLOOD)
  })
}

test.serial('a reader of the console that goes away does not end the guest', async (t) => {
  const guest = new ScriptedGuest(t, { step: 'print', text: FLOOD }, { step: 'crash' })
  const events = guest.file('events.ndjson')
  const child = guest.start('--events', events)
  child.process.stdout.destroy()
  const ended = await child.ends()
  t.is(ended.code, 4)
  t.true(ended.stderr.includes('seawall: standard output cannot be written (EPIPE): '), ended.stderr)
  t.notThrows(() => readLog(events))
})

test.serial('a slow reader of the console gets all of it', async (t) => {
  const guest = new ScriptedGuest(t, { step: 'print', text: FLOOD }, { step: 'shutdown' })
  const events = guest.file('events.ndjson')
  const child = guest.start('--events', events)
  // The VM is over and closed before anybody reads, and the tool does not say so before its output is out.
  await holds(events, /"to":"closed"/)
  await setTimeout(100)
  t.is(child.stderr, '')
  const ended = await child.ends()
  t.like(ended, { code: 0, signal: null })
  t.true(ended.stdout === FLOOD)
})

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
  ['SIGQUIT', 131],
] as const) {
  test.serial(`${signal} stops the guest in good order and makes exit code ${code}`, async (t) => {
    const guest = new ScriptedGuest(t, { step: 'spin' })
    const events = guest.file('events.ndjson')
    const child = guest.start('--events', events, '--json')
    await holds(events, /"to":"running"/)
    child.process.kill(signal)
    const ended = await child.ends()
    t.like(ended, { code, signal: null, stdout: '' })
    t.true(ended.stderr.includes(`seawall: the guest was stopped (${signal})\n`), ended.stderr)
    t.like(lastLine(ended), { exitCode: code, signal, exit: { reason: 'requested', vcpu: null } })
    t.notThrows(() => readLog(events))
  })
}

test.serial('a second signal ends the tool at once', async (t) => {
  const guest = new ScriptedGuest(t, { step: 'print', text: FLOOD }, lost, { step: 'spin' })
  const events = guest.file('events.ndjson')
  const child = guest.start('--events', events)
  await holds(events, /"memory-failure"/)
  child.process.kill('SIGTERM')
  // What keeps the tool now is that nobody reads what the guest has said.
  await holds(events, /"to":"closed"/)
  child.process.kill('SIGINT')
  t.deepEqual(await once(child.process, 'exit'), [null, 'SIGINT'])
})

test.serial('a paused guest waits, also where nothing else keeps the tool alive', async (t) => {
  const child = new ScriptedGuest(t, lost, { step: 'shutdown' }).start('--policy', 'pause')
  child.process.stdin.end()
  await child.says(/^seawall: the guest is paused; SIGTERM ends it$/m)
  // Long enough for an event loop without anything in it to end.
  await setTimeout(200)
  child.process.kill('SIGTERM')
  t.like(await child.ends(), { code: 143, signal: null })
})

test.serial(
  'an error before the guest runs is its code, its message, and one line with --json',
  async (t) => {
    const guest = new ScriptedGuest(t)
    const nowhere = guest.file('nowhere')
    const message = `Expected a readable file for boot.image but received "${nowhere}" (ENOENT)`
    const stderr = `seawall: ERR_INVALID_IMAGE: ${message}\n`
    t.deepEqual(await guest.run('--flat', nowhere), { code: 1, signal: null, stdout: '', stderr })
    const json = await guest.run('--flat', nowhere, '--json')
    t.is(json.code, 1)
    t.like(lastLine(json), {
      exitCode: 1,
      exit: null,
      vm: null,
      error: { code: 'ERR_INVALID_IMAGE', message },
    })
  },
)

test.serial('what only the VM can check is an error of usage too', async (t) => {
  const { code, stderr } = await new ScriptedGuest(t).run('--memory', '4097')
  const message = 'Expected a non-zero multiple of 4096 bytes for memory but received 4097'
  t.deepEqual([code, stderr], [2, `seawall: ${message}\nTry 'seawall run --help'.\n`])
})

if (process.arch !== 'arm64') {
  test.serial('where no guest can run the reason is named, and who knows more', async (t) => {
    const { code, stdout, stderr } = await seawall('run', '--flat', new ScriptedGuest(t).image)
    t.deepEqual([code, stdout], [1, ''])
    const hint =
      "'seawall doctor' says what this host can do, and what to change. 'seawall run --simulated' runs anywhere."
    t.regex(stderr, new RegExp(`^seawall: ERR_UNSUPPORTED_HOST: this host cannot run .*\n${hint}\n$`))
  })
}

test.serial('standard input that cannot be read is said', async (t) => {
  const guest = new ScriptedGuest(t, { step: 'spin' })
  // It is open for writing alone.
  const script = ['-c', `exec "$0" "$@" 0>"${guest.file('input')}"`, process.execPath, ...guest.args()]
  const child = new Child('sh', script, { env: guest.env })
  await child.says(/^seawall: standard input cannot be read \(EBADF\)$/m)
  child.process.kill('SIGTERM')
  t.is((await child.ends()).code, 143)
})
