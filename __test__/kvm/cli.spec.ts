import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import type { MemoryFailureEvent, VmEvent } from 'seawall'
import { Child, TOOL } from '../cli/child.ts'
import { readLog } from '../cli/log.ts'
import { PseudoTerminal, TerminalProgram } from '../cli/pseudo-terminal.ts'
import { PageConnection } from '../live-view/page-connection.ts'
import { Injector } from './injector.ts'

const folder = mkdtempSync(join(tmpdir(), 'seawall-'))
test.after.always(() => rmSync(folder, { recursive: true }))
let logs = 0

/** The command that runs a micro-guest, and what it logs. */
function command(guest: string, ...args: string[]): { command: string[]; events: () => VmEvent[] } {
  logs += 1
  const log = join(folder, `events-${logs}.ndjson`)
  const flat = ['--flat', `build/guests/${guest}.bin`, '--memory', '4M', '--events', log]
  return { command: [process.execPath, TOOL, 'run', ...flat, ...args], events: () => readLog(log) }
}

function failuresOf(events: VmEvent[]): MemoryFailureEvent[] {
  return events.filter((event) => event.type === 'memory-failure')
}

/** Runs a command whose guest will meet an error on its first access to the page. */
function armed(words: string[], rule = 'fsc=0x10'): { child: Child; injector: Injector } {
  // The shell waits until the page is armed, and then becomes the tool: it has its process id.
  const child = new Child('sh', ['-c', 'read armed; exec "$@"', 'sh', ...words])
  const injector = new Injector(child.process.pid)
  injector.arm(rule)
  child.process.stdin.end('\n')
  return { child, injector }
}

test.serial('an application of the guest meets an error: console, events and exit code', async (t) => {
  const { command: words, events } = command('read-el0', '--name', 'one', '--json')
  const { child, injector } = armed(words)
  using _ = injector
  const { code, stdout, stderr } = await child.ends()
  t.is(code, 0, stderr)
  t.regex(stdout, /^ready\nexception vector=0x400 esr=0x0000000092000010 .*\nvalue=0x0{12}5eed\ndone\n$/)
  const failures = failuresOf(events())
  t.is(failures.length, 1)
  t.like(failures[0], {
    backend: 'kvm',
    source: 'sea',
    gpa: 0x8010_0000n,
    consumer: { mode: 'user' },
    action: 'inject',
    injection: { result: 'ok' },
  })
  t.is(failures[0]?.vm.name, 'one')
  const document = JSON.parse(stderr.trimEnd().split('\n').at(-1) ?? '')
  t.like(document, { exitCode: 0, exit: { reason: 'shutdown' }, memoryFailures: 1, lostPages: 1 })
  // The lab runs everything as root, who takes the page out of the host's use.
  t.is(document.unretiredHostPages, 0)
})

test.serial('--policy stop ends the guest with exit code 5', async (t) => {
  const { command: words, events } = command('read-el0', '--policy', 'stop')
  const { child, injector } = armed(words)
  using _ = injector
  const { code, stdout } = await child.ends()
  t.deepEqual([code, stdout], [5, 'ready\n'])
  t.deepEqual(
    failuresOf(events()).map(({ action }) => action),
    ['stop'],
  )
})

test.serial('--policy pause keeps the guest until SIGTERM', async (t) => {
  const { command: words, events } = command('read-el0', '--policy', 'pause')
  const { child, injector } = armed(words)
  using _ = injector
  await child.says(/^seawall: the guest is paused; SIGTERM ends it$/m)
  child.process.kill('SIGTERM')
  t.is((await child.ends()).code, 143)
  t.deepEqual(
    failuresOf(events()).map((failure) => failure.action),
    ['pause'],
  )
})

test.serial('a reset ends the guest, or boots it again', async (t) => {
  const [program = '', ...args] = command('reset').command
  t.like(await new Child(program, args).ends(), { code: 3, stdout: 'ready\n' })

  const again = command('reset', '--on-reset', 'restart')
  const child = new Child(again.command[0] ?? '', again.command.slice(1))
  await child.says(/(seawall: the guest boots again\n.*){3}/s)
  child.process.kill('SIGTERM')
  const { code, stdout } = await child.ends()
  t.is(code, 143)
  t.regex(stdout, /^(ready\n){3}/)
  t.true(again.events().filter(({ type }) => type === 'guest-reset').length >= 3)
})

test.serial('input reaches the guest byte by byte, and its end does not end the guest', async (t) => {
  const [program = '', ...args] = command('echo').command
  const child = new Child(program, args)
  const input = Buffer.from(Array.from({ length: 1024 }, (_, index) => index % 256))
  child.process.stdin.end(input)
  const expected = Buffer.concat([Buffer.from('ready\n'), input])
  let output = Buffer.alloc(0)
  for await (const chunk of child.process.stdout.iterator({ destroyOnReturn: false })) {
    output = Buffer.concat([output, chunk])
    if (output.length >= expected.length) break
  }
  t.deepEqual(output, expected)
  child.process.kill('SIGTERM')
  t.like(await child.ends(), { code: 143, stdout: '' })
})

/** Waits until the tool says where its live view is, and listens there. */
async function viewOf(child: Child): Promise<{ url: string; page: PageConnection }> {
  const address = /^seawall: the live view is at (\S+)$/m
  await child.says(address)
  const [, url = ''] = address.exec(child.stderr) ?? []
  return { url, page: (await PageConnection.open(url)).read() }
}

test.serial('the live view shows an error of the guest with its syndrome, and the end', async (t) => {
  const { command: words, events } = command('read-el0', '--policy', 'pause', '--ui', '--no-console')
  const { child, injector } = armed(words)
  using _ = injector
  const ended = child.ends()
  const { page } = await viewOf(child)
  await page.until(() => page.of('now').at(-1)?.state === 'paused' && page.printed === 'ready\n')
  const failure = page.of('event').find(({ event }) => event.type === 'memory-failure')
  t.like(failure?.event, { backend: 'kvm', source: 'sea', gpa: '0x80100000', action: 'pause' })
  t.is(failure?.syndrome?.fields.find(({ name }) => name === 'DFSC')?.value, '0x10')
  t.is(page.of('now').at(-1)?.stats.exits['arm-sea'], '0x1')
  child.process.kill('SIGTERM')
  await page.ended
  t.like(await ended, { code: 143, stdout: '' })
  t.deepEqual(
    page.of('event').map(({ event }) => event.seq),
    events().map(({ seq }) => seq),
  )
  t.is(page.told.at(-1)?.name, 'bye')
})

test.serial('what is typed into the live view reaches the guest, beside standard input', async (t) => {
  const [program = '', ...args] = command('echo', '--ui').command
  const child = new Child(program, args)
  const ended = child.ends()
  const { url, page } = await viewOf(child)
  await page.until(() => page.printed === 'ready\n')
  const response = await fetch(new URL('input', url), { method: 'POST', body: 'from the view\n' })
  t.is(response.status, 204)
  await page.until(() => page.printed === 'ready\nfrom the view\n')
  child.process.stdin.write('from the terminal\n')
  await page.until(() => page.printed.endsWith('from the terminal\n'))
  child.process.kill('SIGTERM')
  t.like(await ended, { code: 143, stdout: page.printed })
})

test.serial('at a terminal every key is for the guest but the escape sequences', async (t) => {
  using program = new TerminalProgram()
  const terminal = new PseudoTerminal(program, command('echo').command)
  await terminal.happens('mode unchanged')
  await terminal.happens('mode changed')
  await terminal.shows(/^ready\r$/m)
  // Ctrl-c, Ctrl-d, Ctrl-z, a carriage return, Ctrl-a twice for one of them, and a sequence that means nothing.
  terminal.type('<\x03\x04\x1a\r\x01\x01\x01z>')
  await terminal.shows('<\x03\x04\x1a\r\x01>')
  terminal.type('\x01x')
  t.deepEqual(await terminal.ends(), ['exit 7', 'left unchanged'])
})

test.serial('at a terminal an abort that waits is injected by Ctrl-a p', async (t) => {
  using program = new TerminalProgram()
  const { command: words, events } = command('read-el0', '--policy', 'pause')
  const terminal = new PseudoTerminal(program, ['sh', '-c', 'read armed; exec "$@"', 'sh', ...words])
  await terminal.happens('mode unchanged')
  using injector = new Injector(terminal.pid)
  injector.arm('fsc=0x10 count=1')
  terminal.type('\n')
  await terminal.happens('mode changed')
  await terminal.shows(/^seawall: the guest is paused; Ctrl-a p lets it go on, /m)
  terminal.type('\x01p')
  t.deepEqual(await terminal.ends(), ['exit 0', 'left unchanged'], terminal.screen)
  t.regex(terminal.screen, /^exception vector=0x400 esr=0x0000000092000010 /m)
  t.deepEqual(
    failuresOf(events()).map((failure) => failure.action),
    ['pause', 'inject'],
  )
})

test.serial('Linux boots on two vCPUs, obeys its console, and powers off', async (t) => {
  const log = join(folder, 'linux.ndjson')
  const guest = ['--kernel', 'build/linux-guest/Image', '--initrd', 'build/linux-guest/initrd.cpio']
  const options = ['--cmdline', 'console=ttyS0 quiet panic=-1', '--memory', '256M', '--vcpus', '2']
  const child = new Child(process.execPath, [TOOL, 'run', ...guest, ...options, '--events', log])
  let screen = ''
  for await (const chunk of child.process.stdout.iterator({ destroyOnReturn: false })) {
    screen += chunk
    if (/seawall: ready .*\bcpus=2\b/.test(screen)) break
  }
  child.process.stdin.end('ping there\npoweroff\n')
  const { code, stdout, stderr } = await child.ends()
  t.is(code, 0, screen + stdout + stderr)
  t.regex(stdout, /seawall: pong token=there/)
  t.is(stderr, 'seawall: the guest has shut down\n')
  t.true(readLog(log).some((event) => event.type === 'exit' && event.exit.reason === 'shutdown'))
})
