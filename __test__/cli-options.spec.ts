import test from 'ava'
import { SeawallError } from 'seawall'
import { parseArguments } from '#cli/options'
import { RUN_OPTIONS, toRunOptions } from '#cli/run-options'

function optionsOf(...args: string[]) {
  return toRunOptions(parseArguments('seawall run', RUN_OPTIONS, args).values)
}

test('what is left out has a default, or is left to the VM', (t) => {
  t.deepEqual(optionsOf('--flat', 'guest.bin'), {
    vm: {
      memory: 512 * 2 ** 20,
      vcpus: 1,
      boot: { type: 'flat', image: 'guest.bin' },
      memoryFailure: { recoverable: 'inject' },
    },
    events: null,
    console: true,
    ui: null,
    quiet: false,
    json: false,
  })
})

test('every option reaches the VM, or the tool', (t) => {
  const boot = ['--kernel', 'Image', '--initrd=initrd.img', '--cmdline', 'console=ttyS0 quiet', '--no-acpi']
  const vm = ['-m', '2G', '--vcpus', '4', '--hugetlb', '1G', '--name', 'one', '--on-reset', 'restart']
  const policy = ['--policy', 'pause', '--threshold', '4:report']
  const tool = ['--events', 'events.ndjson', '--no-console', '--ui', '8080', '-q', '--json']
  t.deepEqual<unknown, unknown>(optionsOf(...boot, ...vm, ...policy, ...tool), {
    vm: {
      memory: 2 ** 31,
      vcpus: 4,
      hugetlb: '1G',
      name: 'one',
      onReset: 'restart',
      boot: {
        type: 'linux',
        kernel: 'Image',
        initrd: 'initrd.img',
        cmdline: 'console=ttyS0 quiet',
        acpi: false,
      },
      memoryFailure: { recoverable: 'pause', threshold: { distinctPages: 4, action: 'report' } },
    },
    events: 'events.ndjson',
    console: false,
    ui: 8080,
    quiet: true,
    json: true,
  })
  const given = [...boot, ...vm, ...policy, ...tool].map((word) => word.split('=')[0])
  const names = Object.keys(RUN_OPTIONS).filter(
    (name) => !['help', 'flat', 'simulated', 'memory', 'quiet'].includes(name),
  )
  t.deepEqual(
    names.filter((name) => !given.includes(`--${name}`)),
    [],
  )
})

test('a kernel alone is enough, and what it is given may begin with a dash', (t) => {
  t.deepEqual<unknown, unknown>(optionsOf('--kernel', 'Image').vm.boot, { type: 'linux', kernel: 'Image' })
  t.like(optionsOf('--kernel', 'Image', '--cmdline=-x').vm.boot, { cmdline: '-x' })
})

test('the port of --ui may be left out, and is then a free one', (t) => {
  for (const [args, port] of [
    [['--ui'], 0],
    [['--ui', '--quiet'], 0],
    [['--ui', '8080'], 8080],
    [['--ui=8080'], 8080],
    [['--ui', '8080', '--ui'], 0],
  ] as [string[], number][]) {
    t.is(optionsOf('--flat', 'x', ...args).ui, port, args.join(' '))
    t.is(optionsOf(...args, '--flat', 'x').ui, port, args.join(' '))
  }
  // Behind `--` nothing belongs to an option.
  t.deepEqual(parseArguments('seawall run', RUN_OPTIONS, ['--ui', '--', '8080']), {
    values: { ui: true },
    positionals: ['8080'],
  })
})

test('of an option that is given twice the second counts', (t) => {
  t.is(optionsOf('--flat', 'x', '--memory', '1G', '--memory', '2G').vm.memory, 2 ** 31)
})

for (const [text, bytes] of [
  ['1', 1],
  ['4096', 4096],
  ['64k', 2 ** 16],
  ['64K', 2 ** 16],
  ['512M', 2 ** 29],
  ['2g', 2 ** 31],
  ['1T', 2 ** 40],
  ['9007199254740991', Number.MAX_SAFE_INTEGER],
] as const) {
  test(`--memory ${text} is ${bytes} bytes`, (t) => {
    t.is(optionsOf('--flat', 'x', '--memory', text).vm.memory, bytes)
  })
}

test('--threshold stops where it does not say what to do', (t) => {
  const threshold = (text: string) =>
    optionsOf('--flat', 'x', '--threshold', text).vm.memoryFailure?.threshold
  t.deepEqual(threshold('4'), { distinctPages: 4, action: 'stop' })
  t.deepEqual(threshold('16:pause'), { distinctPages: 16, action: 'pause' })
})

const SIZE = 'a size such as 512M, 2G or 536870912'
const VCPUS = 'an integer from 1 to 512'
const PAGES = 'an integer from 1 to 4294967295'
for (const [option, expected, values] of [
  [
    '--memory',
    SIZE,
    ['', '0', '0M', '1.5G', '0x100', ' 1', '-1', '1e9', 'M', '1MM', '9007199254740992', '9999999T'],
  ],
  ['--vcpus', VCPUS, ['', '0', '513', 'two', '1.5', '1e1', '-1', '0x1']],
  ['--threshold', PAGES, ['', '0', '4294967296', 'many', ':stop']],
  ['--threshold', "'pause' or 'stop' or 'report'", ['4:explode', '4:Stop']],
  ['--threshold', 'a number of pages and an action, such as 4:pause,', ['4:', '4:stop:now']],
  ['--ui', 'an integer from 1 to 65535', ['', '0', '65536', '80.0', 'http', '-1']],
  ['--policy', "'inject' or 'pause' or 'stop'", ['', 'ignore', 'Inject']],
  ['--on-reset', "'exit' or 'restart'", ['pause']],
  ['--hugetlb', "'2M' or '1G'", ['4K', '2m']],
] as const) {
  for (const value of values) {
    test(`${option}=${value} is refused: expected ${expected}`, (t) => {
      const error = t.throws(() => optionsOf('--flat', 'x', `${option}=${value}`), {
        instanceOf: SeawallError,
      })
      t.like(error, { code: 'ERR_INVALID_OPTION' })
      t.true(error?.message.startsWith(`Expected ${expected} for ${option} but received "`), error?.message)
    })
  }
}

test('--simulated is a guest that a script plays, and all that is not about the guest goes with it', (t) => {
  const { vm, ui } = optionsOf('--simulated', '--policy', 'pause', '--ui')
  t.like(vm, { vcpus: 2, name: 'simulated guest', backend: { kind: 'simulated' } })
  t.is(vm.memoryFailure?.recoverable, 'pause')
  t.is(ui, 0)
  t.is(optionsOf('--simulated', '--name', 'mine').vm.name, 'mine')
})

for (const option of [
  '--kernel=y',
  '--flat=y',
  '--initrd=y',
  '--no-acpi',
  '--memory=4M',
  '--vcpus=1',
  '--hugetlb=2M',
]) {
  test(`${option} is not for a simulated guest`, (t) => {
    const [name] = option.split('=')
    t.throws(() => optionsOf('--simulated', option), {
      code: 'ERR_INVALID_OPTION',
      message: `Expected nothing that describes the guest for --simulated but received "${name}"`,
    })
  })
}

for (const option of ['--initrd=y', '--cmdline=y', '--no-acpi']) {
  test(`${option} is not for a flat binary`, (t) => {
    const [name] = option.split('=')
    const message = `Expected --kernel for ${name} but received "--flat"`
    t.throws(() => optionsOf('--flat', 'x', option), { instanceOf: SeawallError, message })
  })
}
