import test from 'ava'
import { type HostSupport, SeawallError } from 'seawall'
import { diagnose } from '#cli/diagnosis'
import { type HostFacts, readHostFacts } from '#cli/host-facts'

const support: HostSupport = {
  status: 'active',
  reasons: [],
  kernel: '7.3.4',
  capabilities: {
    armSeaToUser: true,
    ras: true,
    injectExtDabt: true,
    nisvToUser: true,
    userfaultfd: true,
    hwpoison: true,
  },
}
const CAP_IPC_LOCK = 1n << 14n

/** A host on which there is nothing to do. */
const good: HostFacts = {
  platform: 'linux',
  arch: 'arm64',
  kernel: '7.3.4',
  addonPackage: 'seawall-linux-arm64-gnu@0.1.0',
  support,
  kvm: { open: 'ok', group: 'kvm' },
  capabilities: 0n,
  seccomp: false,
  lockedMemory: 2 ** 24,
  swaps: [],
  shmemEnabled: 'never',
  hugePages: [
    { kib: 64, total: 9, free: 9 },
    { kib: 2048, total: 4, free: 3 },
    { kib: 1048576, total: 0, free: 0 },
  ],
  vm: {
    compact_unevictable_allowed: 0,
    max_map_count: 65530,
    memory_failure_early_kill: 0,
    memory_failure_recovery: 1,
    unprivileged_userfaultfd: 0,
  },
}
const missing = new SeawallError('ERR_NATIVE_MISSING', 'there is no native addon')
const able = (capabilities: Partial<HostSupport['capabilities']>): Partial<HostFacts> => ({
  support: { ...support, capabilities: { ...support.capabilities, ...capabilities } },
})
const sysctl = (values: Partial<HostFacts['vm']>): Partial<HostFacts> => ({ vm: { ...good.vm, ...values } })

test('a host on which there is nothing to do passes every check', (t) => {
  const checks = diagnose(good)
  t.deepEqual(
    checks.map(({ id, status, change }) => [id, status, change]),
    [
      'addon',
      'platform',
      'kvm',
      'sea-to-user',
      'ras',
      'injection',
      'nisv',
      'userfaultfd',
      'offline',
      'memory-failure',
      'locked-memory',
      'mappings',
      'swap',
      'compaction',
      'shmem',
      'huge-pages',
    ].map((id) => [id, 'ok', null]),
  )
  t.is(checks.at(-1)?.found, '2M: 3 free of 4, 1G: 0 free of 0')
})

for (const [what, facts, id, status, found, change] of [
  [
    'no addon',
    { support: missing },
    'addon',
    'missing',
    /^none loads for linux on arm64$/,
    /^npm install seawall-linux-arm64-gnu@0\.1\.0; in a clone: npm run build$/,
  ],
  [
    'no package of its platform',
    { support: missing, addonPackage: null },
    'addon',
    'missing',
    /^none loads for linux on arm64$/,
    /^no package is made for this platform/,
  ],
  ['another architecture', { arch: 'x64' }, 'platform', 'missing', /^linux on x64$/, /npm run lab/],
  ['another system', { platform: 'darwin' }, 'platform', 'missing', /^darwin on arm64$/, /npm run lab/],
  [
    'no device',
    { kvm: { open: 'ENOENT', group: null } },
    'kvm',
    'missing',
    /\(ENOENT\)/,
    /EL2 .*--device \/dev\/kvm/,
  ],
  [
    'no permission',
    { kvm: { open: 'EACCES', group: 'vms' } },
    'kvm',
    'missing',
    /\(EACCES\)/,
    /^sudo usermod --append --groups vms "\$USER"/,
  ],
  [
    "a device that is root's alone",
    { kvm: { open: 'EACCES', group: 'root' } },
    'kvm',
    'missing',
    /\(EACCES\)/,
    /^sudo chgrp kvm \/dev\/kvm && sudo chmod 660 \/dev\/kvm; sudo usermod --append --groups kvm/,
  ],
  [
    "a container's rules",
    { kvm: { open: 'EPERM', group: 'kvm' } },
    'kvm',
    'missing',
    /\(EPERM\)/,
    /--device \/dev\/kvm$/,
  ],
  [
    'an old kernel',
    able({ armSeaToUser: false }),
    'sea-to-user',
    'missing',
    /in Linux 7\.3\.4: no$/,
    /Linux 6\.19/,
  ],
  ['processors without RAS', able({ ras: false }), 'ras', 'missing', /FEAT_RAS .*: no$/, /Armv8\.2/],
  ['no injection', able({ injectExtDabt: false }), 'injection', 'missing', /178\): no$/, /Linux 6\.19/],
  ['no NISV', able({ nisvToUser: false }), 'nisv', 'warning', /177\): no$/, /Linux 6\.19/],
  ['no userfaultfd', able({ userfaultfd: false }), 'userfaultfd', 'warning', /: no$/, /CONFIG_USERFAULTFD/],
  [
    'userfaultfd that a filter denies',
    { ...able({ userfaultfd: false }), seccomp: true },
    'userfaultfd',
    'warning',
    /system calls are filtered/,
    /--security-opt seccomp=/,
  ],
  [
    'no privilege',
    able({ hwpoison: false }),
    'offline',
    'warning',
    /^CAP_SYS_ADMIN: no$/,
    /^AmbientCapabilities=/,
  ],
  [
    'a kernel that keeps lost pages',
    {
      ...able({ hwpoison: false }),
      ...sysctl({ memory_failure_recovery: null, memory_failure_early_kill: null }),
    },
    'memory-failure',
    'warning',
    /no CONFIG_MEMORY_FAILURE/,
    /CONFIG_MEMORY_FAILURE/,
  ],
  [
    'a kernel that panics',
    sysctl({ memory_failure_recovery: 0 }),
    'memory-failure',
    'warning',
    /recovery is 0/,
    /^sudo sysctl vm\.memory_failure_recovery=1$/,
  ],
  [
    'signals for everybody',
    sysctl({ memory_failure_early_kill: 1 }),
    'memory-failure',
    'warning',
    /early_kill is 1/,
    /^sudo sysctl vm\.memory_failure_early_kill=0$/,
  ],
  [
    'little to lock',
    { lockedMemory: 2 ** 24 - 1 },
    'locked-memory',
    'warning',
    /16777215 bytes/,
    /LimitMEMLOCK=16M/,
  ],
  ['a limit that nobody knows', { lockedMemory: null }, 'locked-memory', 'warning', /not known/, null],
  [
    'few mappings',
    sysctl({ max_map_count: 16383 }),
    'mappings',
    'warning',
    /16383/,
    /^sudo sysctl vm\.max_map_count=65530$/,
  ],
  [
    'swap',
    { swaps: ['/swap.img', '/dev/sda2'] },
    'swap',
    'warning',
    /to \/swap\.img, \/dev\/sda2$/,
    /^sudo swapoff --all$/,
  ],
  [
    'compaction',
    sysctl({ compact_unevictable_allowed: 1 }),
    'compaction',
    'warning',
    /allowed is 1/,
    /^sudo sysctl vm\.compact_unevictable_allowed=0$/,
  ],
  [
    'huge pages of shared memory',
    { shmemEnabled: 'within_size' },
    'shmem',
    'warning',
    /within_size/,
    /^echo never \| sudo tee \/sys\//,
  ],
] as [string, Partial<HostFacts>, string, string, RegExp, RegExp | null][]) {
  test(`the doctor finds ${what}, and says what to change`, (t) => {
    const checks = diagnose({ ...good, ...facts })
    const wrong = checks.filter((check) => check.status !== 'ok')
    t.like(wrong[0], { id, status })
    t.is(wrong.length, 1)
    t.regex(wrong[0]?.found ?? '', found)
    if (change === null) t.is(wrong[0]?.change, null)
    else t.regex(wrong[0]?.change ?? '', change)
    t.true((wrong[0]?.why ?? '').length > 20)
  })
}

for (const [what, facts, id] of [
  ['a limit that does not bind', { lockedMemory: 65536, capabilities: CAP_IPC_LOCK }, 'locked-memory'],
  ['no limit', { lockedMemory: Number.POSITIVE_INFINITY }, 'locked-memory'],
  ['a kernel without swap', { swaps: null }, 'swap'],
  ['a kernel without compaction', sysctl({ compact_unevictable_allowed: null }), 'compaction'],
  ['a kernel without huge pages', { shmemEnabled: null }, 'shmem'],
  ['huge pages for who asks', { shmemEnabled: 'advise' }, 'shmem'],
] as [string, Partial<HostFacts>, string][]) {
  test(`the doctor lets ${what} pass`, (t) => {
    t.is(diagnose({ ...good, ...facts }).find((check) => check.id === id)?.status, 'ok')
  })
}

test('where no guest can run, the rest is not asked', (t) => {
  t.deepEqual(
    diagnose({ ...good, arch: 'x64', swaps: ['/swap.img'] }).map(({ id }) => id),
    ['addon', 'platform'],
  )
})

test('without the addon what can be asked still is', (t) => {
  const ids = diagnose({ ...good, support: missing }).map(({ id }) => id)
  t.true(ids.includes('kvm') && ids.includes('swap') && !ids.includes('ras'))
})

test('without a device KVM is asked nothing, and everything else still is', (t) => {
  const ids = diagnose({ ...good, kvm: { open: 'ENOENT', group: null } }).map(({ id }) => id)
  t.false(ids.includes('ras') || ids.includes('sea-to-user'))
  t.true(ids.includes('userfaultfd') && ids.includes('offline'))
})

if (process.platform === 'linux') {
  test('what is found out about this host is what the kernel says', (t) => {
    const facts = readHostFacts()
    t.is(facts.platform, process.platform)
    t.true((facts.capabilities ?? -1n) >= 0n)
    t.is(typeof facts.seccomp, 'boolean')
    t.true((facts.lockedMemory ?? -1) >= 0)
    t.true((facts.vm.max_map_count ?? 0) > 0)
    t.true(facts.hugePages.every(({ kib, total, free }) => kib > 0 && total >= free))
  })
}
