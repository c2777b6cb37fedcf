import { chmodSync, renameSync, statSync, writeFileSync } from 'node:fs'
import test from 'ava'
import { Child, TOOL } from '../cli/child.ts'

/** Which of the lab's hosts this is: `active`, `inert` (no FEAT_RAS) or `unsupported` (Linux 6.12). */
const host = process.env['SEAWALL_HOST']

interface Check {
  id: string
  status: 'ok' | 'warning' | 'missing'
  found: string
  change: string | null
}

interface Diagnosis {
  code: number | null
  status: string
  checks: Check[]
}

async function doctor({
  wrapper = [],
  user,
}: {
  wrapper?: string[]
  user?: number
} = {}): Promise<Diagnosis> {
  const [command = '', ...args] = [...wrapper, process.execPath, TOOL, 'doctor', '--json']
  const { code, stdout, stderr } = await new Child(command, args, user === undefined ? {} : { user }).ends()
  if (stderr !== '') throw new Error(stderr)
  return { code, ...JSON.parse(stdout) }
}

/** The checks that were not passed. */
function wrong({ checks }: Diagnosis): [id: string, status: string, found: string, change: string | null][] {
  return checks
    .filter(({ status }) => status !== 'ok')
    .map(({ id, status, found, change }) => [id, status, found, change])
}

test.serial(`the doctor says ${host}, and what is missing`, async (t) => {
  const { code, status, checks } = await doctor()
  t.is<string | undefined, string>(host, status)
  t.is(code, host === 'active' ? 0 : 1)
  const missing = checks.filter((check) => check.status === 'missing').map(({ id }) => id)
  t.deepEqual(missing, host === 'active' ? [] : [host === 'inert' ? 'ras' : 'sea-to-user'])
  t.log(checks.map(({ id, status, found }) => `${status} ${id}: ${found}`).join('\n'))
})

if (host === 'active') {
  const compaction = [
    'compaction',
    'warning',
    'vm.compact_unevictable_allowed is 1',
    'sudo sysctl vm.compact_unevictable_allowed=0',
  ]

  test.serial('as root, what the doctor finds wrong with a default kernel is one setting', async (t) => {
    t.deepEqual<unknown, unknown>(wrong(await doctor()), [compaction])
  })

  test.serial('what the doctor says to do is what the check wants', async (t) => {
    const setting = '/proc/sys/vm/compact_unevictable_allowed'
    writeFileSync(setting, '0')
    try {
      t.deepEqual(wrong(await doctor()), [])
    } finally {
      writeFileSync(setting, '1')
    }
  })

  test.serial('a system call that a filter denies is found', async (t) => {
    const diagnosis = await doctor({ wrapper: ['without-userfaultfd'] })
    t.is(diagnosis.code, 0)
    const [check] = wrong(diagnosis)
    t.deepEqual(check?.slice(0, 3), [
      'userfaultfd',
      'warning',
      'with UFFDIO_POISON: no (system calls are filtered)',
    ])
  })

  test.serial('a device that is not there is found', async (t) => {
    renameSync('/dev/kvm', '/dev/kvm-away')
    try {
      const diagnosis = await doctor()
      t.deepEqual([diagnosis.code, diagnosis.status], [1, 'unsupported'])
      t.deepEqual(wrong(diagnosis)[0]?.slice(0, 3), ['kvm', 'missing', '/dev/kvm cannot be opened (ENOENT)'])
    } finally {
      renameSync('/dev/kvm-away', '/dev/kvm')
    }
  })

  test.serial('what an ordinary user may not do is found', async (t) => {
    const { mode } = statSync('/dev/kvm')
    chmodSync('/dev/kvm', 0o600)
    try {
      const diagnosis = await doctor({ user: 65534 })
      t.deepEqual([diagnosis.code, diagnosis.status], [1, 'unsupported'])
      t.deepEqual(
        wrong(diagnosis).map(([id, status]) => [id, status]),
        [
          ['kvm', 'missing'],
          ['offline', 'warning'],
          ['locked-memory', 'warning'],
          ['compaction', 'warning'],
        ],
      )
    } finally {
      chmodSync('/dev/kvm', mode)
    }
  })
}
