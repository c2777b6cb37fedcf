import { readFileSync } from 'node:fs'
import test from 'ava'
import { decodeEsr, formatEsr, jsonReplacer, probeHost } from 'seawall'
import { Child, seawall, TOOL } from './cli/child.ts'

const { version, bin } = JSON.parse(readFileSync('package.json', 'utf8'))

test('package.json names the tool, which is a Node program', (t) => {
  t.true(TOOL.endsWith(bin.seawall))
  t.true(readFileSync(TOOL, 'utf8').startsWith('#!/usr/bin/env node\n'))
})

for (const flag of ['--version', '-V']) {
  test(`seawall ${flag} says the version of the package`, async (t) => {
    t.like(await seawall(flag), { code: 0, stdout: `${version}\n`, stderr: '' })
  })
}

test('help is the same however it is asked for', async (t) => {
  const { code, stdout, stderr } = await seawall('--help')
  t.deepEqual([code, stderr], [0, ''])
  for (const command of ['run', 'doctor', 'esr']) t.regex(stdout, new RegExp(`^ {2}${command} {2,}\\w`, 'm'))
  for (const flags of [['-h'], ['help']]) t.is((await seawall(...flags)).stdout, stdout)
})

for (const command of ['run', 'doctor', 'esr']) {
  test(`the help of ${command} is the same however it is asked for, and has examples`, async (t) => {
    const { code, stdout, stderr } = await seawall('help', command)
    t.deepEqual([code, stderr], [0, ''])
    t.regex(
      stdout,
      new RegExp(`^Usage: seawall ${command} .*^Examples:\\n {2}# .*\\n {2}seawall ${command}`, 'ms'),
    )
    // Also where the rest is wrong.
    for (const flags of [['--help'], ['-h'], ['--nonsense', '--help']]) {
      t.like(await seawall(command, ...flags), { code: 0, stdout, stderr: '' })
    }
  })
}

test('without a command the help goes to standard error', async (t) => {
  const { stdout: help } = await seawall('--help')
  t.like(await seawall(), { code: 2, stdout: '', stderr: help })
})

for (const [args, expected] of [
  [['fly'], 'Expected run, doctor or esr for the command but received "fly"'],
  [['constructor'], 'Expected run, doctor or esr for the command but received "constructor"'],
  [['help', 'fly'], 'Expected run, doctor or esr for the command but received "fly"'],
  [['--memory', '1G'], 'Expected run, doctor or esr for the command but received "--memory"'],
  [['run', '--fly'], 'Expected an option for seawall run but received "--fly"'],
  [['run', '--constructor'], 'Expected an option for seawall run but received "--constructor"'],
  [['run', '-z'], 'Expected an option for seawall run but received "-z"'],
  [['run'], 'Expected --kernel, --flat or --simulated for seawall run but received nothing'],
  [['run', 'Image'], 'Expected options only for seawall run but received "Image"'],
  [['run', '--kernel'], 'Expected a value (file) for --kernel but received nothing'],
  [['run', '--kernel', '--quiet'], 'Expected a value (file) for --kernel but received "--quiet"'],
  [['run', '--quiet=yes', '--flat', 'x'], 'Expected no value for --quiet but received "yes"'],
  [
    ['run', '--flat', 'x', '--memory', '12x'],
    'Expected a size such as 512M, 2G or 536870912 for --memory but received "12x"',
  ],
  [['run', '--flat', 'x', '--events', '-'], 'Expected --no-console for --events - but received nothing'],
  [
    ['run', '--flat', 'x', '--events', '/nowhere/events.ndjson'],
    'Expected a file that can be written (ENOENT) for --events but received "/nowhere/events.ndjson"',
  ],
  [['run', '--flat', 'x', '--ui=http'], 'Expected an integer from 1 to 65535 for --ui but received "http"'],
  [
    ['run', '--flat', 'x', '--ui', '65536'],
    'Expected an integer from 1 to 65535 for --ui but received "65536"',
  ],
  [['run', '--flat', 'x', '--ui', '0'], 'Expected an integer from 1 to 65535 for --ui but received "0"'],
  [['run', '--flat', 'x', '--ui', '1', '2'], 'Expected options only for seawall run but received "2"'],
  [['run', '--ui', '--quiet', '1'], 'Expected options only for seawall run but received "1"'],
  [['doctor', 'now'], 'Expected options only for seawall doctor but received "now"'],
  [['doctor', '--verbose'], 'Expected an option for seawall doctor but received "--verbose"'],
  [['esr'], 'Expected ESR values for seawall esr but received nothing'],
  ...['0x', '0xg', '1_0', '0x1ffffffffffffffff', '12.5'].map((value) => [
    ['esr', value],
    `Expected a hexadecimal number of at most 64 bits for the ESR but received ${JSON.stringify(value)}`,
  ]),
] as [string[], string][]) {
  test.serial(`seawall ${args.join(' ')}: an error of one line, and where to look`, async (t) => {
    const [command = ''] = args
    const where = ['run', 'doctor', 'esr'].includes(command) ? `seawall ${command}` : 'seawall'
    const stderr = `seawall: ${expected}\nTry '${where} --help'.\n`
    t.deepEqual(await seawall(...args), { code: 2, signal: null, stdout: '', stderr })
  })
}

test('seawall esr decodes values for people', async (t) => {
  const stdout = `${formatEsr(0x9200_0610n)}\n\n${formatEsr(0x8200_0010n)}\n`
  t.like(await seawall('esr', '0x92000610', '82000010'), { code: 0, stdout, stderr: '' })
})

test('a value without 0x is hexadecimal too, also one that could be decimal', async (t) => {
  t.is((await seawall('esr', '92000610')).stdout, (await seawall('esr', '0X92000610')).stdout)
})

test('seawall esr --json is one document, an array also for one value', async (t) => {
  for (const values of [['0x92000610'], ['ffffffffffffffff', '0']]) {
    const { code, stdout, stderr } = await seawall('esr', ...values, '--json')
    const expected = values.map((value) => decodeEsr(BigInt(`0x${value.replace('0x', '')}`)))
    t.deepEqual([code, stderr, stdout], [0, '', `${JSON.stringify(expected, jsonReplacer)}\n`])
  }
})

test('a reader that goes away ends nothing badly', async (t) => {
  const values = Array.from({ length: 4000 }, (_, index) => index.toString(16))
  const child = new Child(process.execPath, [TOOL, 'esr', ...values])
  child.process.stdout.destroy()
  t.like(await child.ends(), { code: 0, signal: null, stderr: '' })
})

test('seawall doctor answers what the probe does', async (t) => {
  const { status, reasons, kernel } = probeHost()
  const { code, stdout, stderr } = await seawall('doctor', '--json')
  const document = JSON.parse(stdout)
  t.deepEqual([code, stderr, stdout.trimEnd().includes('\n')], [status === 'active' ? 0 : 1, '', false])
  t.like(document, { status, reasons, kernel, seawall: version, node: process.versions.node })
  const people = await seawall('doctor')
  t.deepEqual([people.code, people.stderr], [code, ''])
  t.true(people.stdout.startsWith(`${status}: ${process.platform} ${kernel} on ${process.arch}`))
  for (const { id, status, found, change } of document.checks) {
    t.true(people.stdout.includes(`${status.padEnd(8)} ${id.padEnd(15)} ${found}\n`), id)
    if (change !== null) t.true(people.stdout.includes(`do:  ${change}\n`), id)
  }
})
