import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { renderDocument } from '../scripts/blast-radius-document.ts'
import { renderRow, renderTables } from '../scripts/blast-radius-page.ts'
import type { ObservedRow, Victim } from '../scripts/blast-radius-recording.ts'
import { CLASSES, ROWS } from '../scripts/blast-radius-rows.ts'
import { choose } from '../scripts/blast-radius-strew.ts'
import { complaints } from '../scripts/guest-complaints.ts'

const victim: Victim = {
  use: 'load',
  gva: 0xffff_809c_6000n,
  gpa: 0x8992_4000n,
  others: [],
  signal: { number: 7, code: 3, address: 0xffff_809c_6000n },
  survived: null,
  end: { exit: -1, signal: 7 },
  process: null,
}

/** A guest that lost its victim, and then a process of its own to `clear_page`. */
const survivor: ObservedRow = {
  id: 'seawall-load',
  release: '7.3.4',
  seed: null,
  victims: [victim],
  first: { answers: true, bystander: { before: 163, after: 179 }, retiredKib: 0 },
  second: {
    answers: true,
    bystander: { before: 900, after: 900 },
    retiredKib: 4,
    processes: 52,
    work: { well: 51, badly: 0, never: 1, kib: 152_140 },
    lost: [{ state: 'stuck', work: 'fork', pid: '99', task: 'D', function: '__vma_start_exclude_readers' }],
  },
  exit: null,
  failures: [failure(1, 'sea', 'user', 0x40_0728n), failure(2, 'quarantined-page', 'kernel', 0xffff_d51cn)],
  pages: [],
  kernelLog: [
    '[    4.259873] Internal error: synchronous external abort: 0000000096000010 [#1]  SMP',
    '[    4.296666] Modules linked in:',
    '[    4.321359] CPU: 0 UID: 0 PID: 99 Comm: stress Tainted: G   M                7.3.4 #1 PREEMPTLAZY',
    '[    4.413430] pc : clear_page+0x30/0x68',
    '[    4.424459] lr : post_alloc_hook+0xc0/0x1a0',
  ],
  seconds: 53.8,
}

/** A guest that panicked at the use. */
const panicked: ObservedRow = {
  ...survivor,
  id: 'kvm-load',
  victims: [{ ...victim, signal: null, end: null }],
  first: { answers: false, bystander: null, retiredKib: null },
  second: null,
  exit: { reason: 'reset', error: null },
  failures: [],
  kernelLog: [
    '[    6.790762] SError Interrupt on CPU0, code 0x00000000bf000000 -- SError',
    '[    6.793414] CPU: 0 UID: 0 PID: 93 Comm: victim Tainted: G   M                7.3.4 #1 PREEMPTLAZY',
    '[    6.805257] pc : 0000000000400728',
    '[    6.806328] Kernel panic - not syncing: Asynchronous SError Interrupt',
    '[    7.586955] CPU: 0 UID: 0 PID: 93 Comm: victim Tainted: G   M                7.3.4 #1 PREEMPTLAZY',
  ],
}

function failure(
  half: 1 | 2,
  source: 'sea' | 'quarantined-page',
  mode: 'user' | 'kernel',
  pc: bigint,
): ObservedRow['failures'][number] {
  return {
    half,
    seq: half,
    source,
    abort: null,
    gva: null,
    gpa: 0x8992_4000n,
    consumer: { mode, pc, pstate: 0n },
    action: 'inject',
    quarantine: null,
    notified: null,
    deferral: null,
    injection: { method: 'vcpu-events', esr: 0x9600_0010n, result: 'ok' },
  }
}

test('the complaints of a kernel are named with the process and the place', (t) => {
  t.deepEqual(complaints(survivor.kernelLog), [
    {
      text: 'Internal error: synchronous external abort',
      process: 'stress',
      place: 'clear_page+0x30/0x68',
    },
  ])
  t.deepEqual(complaints(panicked.kernelLog), [
    { text: 'SError Interrupt', process: 'victim', place: '0000000000400728' },
    {
      text: 'Kernel panic - not syncing: Asynchronous SError Interrupt',
      process: 'victim',
      place: null,
    },
  ])
  t.deepEqual(complaints(['[    1.0] seawall (DT)', 'pc : x']), [])
})

test('the tables say what was seen of each row', (t) => {
  const cells = renderTables([survivor, panicked, { id: 'seawall-write', error: 'no boot' }])
    .split('\n')
    .filter((line) => /^\| (Seawall|KVM)/.test(line))
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim()),
    )
  t.deepEqual(cells, [
    ['Seawall, load', 'SIGBUS, BUS_OBJERR', 'counts on', '0 KiB', 'answers'],
    ['KVM alone, load', '-', '-', '-', 'panic: Asynchronous SError Interrupt'],
    ['Seawall, write', 'not observed', '', '', ''],
    ['Seawall, load', '1 in kernel mode', '51 of 52 ended well, 1 hangs', 'stands at 900', 'answers'],
    ['KVM alone, load', '-', '-', '-', '-'],
    ['Seawall, write', '-', '-', '-', '-'],
  ])
})

for (const [what, fields, expected] of [
  [
    'a victim that hangs',
    { end: null, signal: null, process: { function: 'folio_wait' } },
    'hangs in folio_wait',
  ],
  ['a victim without an end', { end: null, signal: null }, 'no end seen'],
  [
    'a victim that got an error',
    { end: { exit: 0, signal: 0 }, signal: null, survived: '-1, EFAULT' },
    'lives: -1, EFAULT',
  ],
  ['a death that no signal told of', { end: { exit: -1, signal: 11 }, signal: null }, 'SIGSEGV'],
  [
    'a memory error that the kernel knows of',
    { signal: { number: 7, code: 4, address: 0n } },
    'SIGBUS, BUS_MCEERR_AR',
  ],
] as const) {
  test(`the table says of ${what}: ${expected}`, (t) => {
    const table = renderTables([{ ...survivor, victims: [{ ...victim, ...fields }] }])
    t.regex(table, new RegExp(`\\| Seawall, load \\| ${expected} +\\| counts on`))
  })
}

test('the table counts victims that came off alike', (t) => {
  const written = {
    ...victim,
    use: 'write',
    signal: null,
    survived: '-1, EFAULT',
    end: { exit: 0, signal: 0 },
  } as const
  const table = renderTables([
    { ...survivor, id: 'seawall-twenty', victims: [victim, victim, written, victim] },
  ])
  t.regex(
    table,
    /\| Seawall, load, fetch and write by 20 in turn \| 3 × SIGBUS, BUS_OBJERR; lives: -1, EFAULT +\|/,
  )
})

test('the table has no more than a dash where there was nobody to ask, or no victim', (t) => {
  for (const victims of [[], [panicked.victims, panicked.victims].flat()]) {
    const table = renderTables([{ ...panicked, id: 'untold-pair', victims }])
    t.regex(table, /\| Seawall, guest not told, load by 2 at once \| - +\| - +\|/)
  }
})

test('a row in full counts what differs in numbers alone, and the pages by their state', (t) => {
  const lines = [1, 2, 3, 4, 5].map((frame) => `[ ${frame}.5] Memory failure: 0x8992${frame}: Recovered`)
  const page = { gpa: 0n, size: 4096, hits: 1, firstSeen: '', source: 'reported' } as const
  const text = renderRow({
    ...survivor,
    seed: 0x5eedn,
    kernelLog: [...lines, '[    9.0] Internal error: one'],
    failures: survivor.failures.slice(0, 1),
    pages: [
      { ...page, state: 'replaced' },
      { ...page, state: 'quarantined' },
      { ...page, state: 'replaced' },
    ],
  })
  const said = text.slice(text.indexOf("The guest's kernel said"), text.indexOf('Processes that were lost'))
  t.is(
    said,
    "The guest's kernel said:\n\n" +
      '- Memory failure: 0x89921: Recovered (and 4 more that differ in numbers alone)\n' +
      '- Internal error: one\n\n',
  )
  t.true(text.includes('Chosen by seed 0x5eed.'))
  t.true(text.includes('Lost pages: 2 replaced, 1 quarantined. The guest ran on.'))
  t.false(renderRow(survivor).includes('seed'))
})

test('pages anywhere in the RAM are different ones, and the same for the same seed', (t) => {
  const pages = choose(1000, 7n)
  t.is(new Set(pages).size, 1000)
  t.true(pages.every((gpa) => gpa >= 0x8000_0000n && gpa < 0x8a00_0000n && gpa % 4096n === 0n))
  t.true(pages.some((gpa) => gpa < 0x8100_0000n) && pages.some((gpa) => gpa >= 0x8900_0000n))
  t.deepEqual(choose(1000, 7n), pages)
  t.notDeepEqual(choose(1000, 8n), pages)
})

test('every row has an id and a title of its own, and one of each class is run by default', (t) => {
  t.is(new Set(ROWS.map(({ id }) => id)).size, ROWS.length)
  t.is(new Set(ROWS.map(({ who, what }) => `${who}, ${what}`)).size, ROWS.length)
  t.is(CLASSES.length, 4)
})

test('a row in full has its events, what the kernel said, and who was lost', (t) => {
  const text = renderRow(survivor)
  t.true(
    text.includes('- first half: sea, page 0x89924000, user mode, pc 0x400728: inject (vcpu-events, ESR_EL1'),
  )
  t.true(
    text.includes('- second half: quarantined-page, page 0x89924000, kernel mode, pc 0xffffd51c: inject'),
  )
  t.true(text.includes('- Internal error: synchronous external abort, in stress, at clear_page+0x30/0x68'))
  t.true(text.includes('task D, function __vma_start_exclude_readers'))
  t.true(text.includes('The guest ran on.'))
  t.true(renderRow(panicked).includes('The guest ended: reset.'))
  t.true(renderRow({ id: 'kvm-write', error: 'no boot' }).includes('Not observed: no boot'))
})

test('the document says where it was seen, and has every row', (t) => {
  const text = renderDocument({ kernel: '7.3.4-host', node: 'v24', rows: [survivor, panicked] }, '10.0.13')
  for (const part of [
    '7.3.4-host',
    'QEMU 10.0.13',
    'Guest: Linux 7.3.4, 160 MiB, 2 vCPUs where',
    '### Seawall, load',
    '### KVM alone, load',
  ])
    t.true(text.includes(part), part)
})

for (const [args, code, output] of [
  [['--help'], 0, /^npm run blast-radius -- \[options\]$/m],
  [
    ['--row', 'nothing', '--json'],
    2,
    /^\{"schemaVersion":1,"ok":false,"error":\{"code":null,"message":"Expected seawall-load/,
  ],
  [['--rows', '--json'], 2, /^\{"schemaVersion":1,"ok":false,/],
] as const) {
  test(`blast-radius ${args.join(' ')} ends with exit code ${code}`, async (t) => {
    const program = fileURLToPath(new URL('../scripts/blast-radius.js', import.meta.url))
    const [status, stdout] = await new Promise<[number, string]>((resolve) => {
      const child = execFile(process.execPath, [program, ...args], (_error, text) =>
        resolve([child.exitCode ?? -1, text]),
      )
    })
    t.is(status, code)
    t.regex(stdout, output)
  })
}
