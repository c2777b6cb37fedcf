import { checkOneOf } from '../checks.ts'
import { invalidOption } from '../errors.ts'
import type { VmOptions } from '../options.ts'
import { type Arguments, HELP, missing, type Option } from './options.ts'
import { SIMULATED_GUEST, simulatedScene } from './simulated-scene.ts'

/** The options of `seawall run`. */
export const RUN_OPTIONS = {
  kernel: { value: 'file', help: 'Linux to boot: an arm64 Image, plain or gzip' },
  initrd: { value: 'file', help: "the kernel's initial RAM disk" },
  cmdline: { value: 'text', help: "the kernel's command line (console=ttyS0 panic=-1)" },
  'no-acpi': {
    help: 'describe the machine by a device tree alone; the guest is then not told of lost pages',
  },
  flat: { value: 'file', help: 'a flat arm64 binary instead of a kernel, loaded and entered at 0x80000000' },
  simulated: {
    help: 'a script plays a guest that loses memory, on any machine, also without KVM',
  },
  memory: { value: 'size', short: 'm', help: 'guest RAM: 512M, 2G, or a number of bytes (512M)' },
  vcpus: { value: 'number', help: 'vCPUs, 1 to 512 (1)' },
  hugetlb: { value: '2M|1G', help: 'guest RAM of huge pages, which the host must have set aside' },
  name: { value: 'text', help: 'a name for people, in events' },
  policy: {
    value: 'inject|pause|stop',
    help: 'what to do with a memory error that software can contain (inject);\none that nobody can contain ends the guest',
  },
  threshold: {
    value: 'n[:action]',
    help: 'stop with the n-th lost page; 4:pause and 4:report do that instead',
  },
  'on-reset': { value: 'exit|restart', help: 'what a reset of the guest does (exit)' },
  events: {
    value: 'file',
    help: 'append every event to the file, one JSON document a line;\n- is standard output, and wants --no-console',
  },
  'no-console': { help: "leave out the guest's console on standard streams, in both directions" },
  ui: {
    value: 'port',
    optional: true,
    help: 'show the guest in a browser, at an address on 127.0.0.1 that is printed;\na free port unless one is given. It stays when the guest has ended, until Ctrl-c',
  },
  quiet: { short: 'q', help: 'say nothing on standard error but errors' },
  json: { help: 'say how it ended by one JSON document, the last line on standard error' },
  ...HELP,
} as const satisfies Record<string, Option>

/** What `seawall run` is to do. */
export interface RunOptions {
  readonly vm: VmOptions
  /** Where events go. */
  readonly events: string | null
  readonly console: boolean
  /** The port of the live view, 0 for a free one; `null` where there is to be none. */
  readonly ui: number | null
  readonly quiet: boolean
  readonly json: boolean
}

/** What the guest is, of the VM's options. */
type Guest = Pick<VmOptions, 'memory' | 'vcpus' | 'boot' | 'hugetlb' | 'name' | 'backend'>

type RunValues = Arguments<typeof RUN_OPTIONS>['values']

/** Makes options of what was given. What the VM itself checks is left to it. */
export function toRunOptions(values: RunValues): RunOptions {
  const { name, policy, threshold, events, ui } = values
  const onReset = values['on-reset']
  const console = values['no-console'] === undefined
  if (events === '-' && console) throw missing('--no-console', '--events -')
  return {
    vm: {
      ...(values.simulated === undefined ? toGuest(values) : toSimulatedGuest(values)),
      ...(name === undefined ? {} : { name }),
      ...(onReset === undefined ? {} : { onReset: checkOneOf(onReset, ['exit', 'restart'], '--on-reset') }),
      memoryFailure: {
        recoverable: checkOneOf(policy ?? 'inject', ['inject', 'pause', 'stop'], '--policy'),
        ...(threshold === undefined ? {} : { threshold: parseThreshold(threshold) }),
      },
    },
    events: events ?? null,
    console,
    ui: ui === undefined ? null : ui === true ? 0 : parseNumber(ui, 1, 65_535, '--ui'),
    quiet: values.quiet !== undefined,
    json: values.json !== undefined,
  }
}

/** A guest, as the options say. */
function toGuest(values: RunValues): Guest {
  const { hugetlb } = values
  return {
    memory: parseSize(values.memory ?? '512M'),
    vcpus: parseNumber(values.vcpus ?? '1', 1, 512, '--vcpus'),
    boot: toBoot(values),
    ...(hugetlb === undefined ? {} : { hugetlb: checkOneOf(hugetlb, ['2M', '1G'], '--hugetlb') }),
  }
}

/** A guest that a script plays: the script says what it is. */
function toSimulatedGuest(values: RunValues): Guest {
  for (const name of [
    'kernel',
    'initrd',
    'cmdline',
    'no-acpi',
    'flat',
    'memory',
    'vcpus',
    'hugetlb',
  ] as const) {
    if (values[name] !== undefined)
      throw invalidOption('nothing that describes the guest', '--simulated', `--${name}`)
  }
  return { ...SIMULATED_GUEST, backend: simulatedScene() }
}

function toBoot({ kernel, initrd, cmdline, flat, 'no-acpi': noAcpi }: RunValues): VmOptions['boot'] {
  if (flat !== undefined) {
    const others = { '--kernel': kernel, '--initrd': initrd, '--cmdline': cmdline, '--no-acpi': noAcpi }
    for (const [name, value] of Object.entries(others)) {
      if (value !== undefined) throw invalidOption('--kernel', name, '--flat')
    }
    return { type: 'flat', image: flat }
  }
  if (kernel === undefined) throw missing('--kernel, --flat or --simulated', 'seawall run')
  return {
    type: 'linux',
    kernel,
    ...(initrd === undefined ? {} : { initrd }),
    ...(cmdline === undefined ? {} : { cmdline }),
    ...(noAcpi === undefined ? {} : { acpi: false }),
  }
}

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 }

function parseSize(text: string): number {
  const [, digits = '', unit = ''] = /^(\d+)([KMGT]?)$/i.exec(text) ?? []
  const bytes = Number(digits) * (UNITS[unit.toUpperCase()] ?? 1)
  if (digits === '' || bytes === 0 || !Number.isSafeInteger(bytes)) {
    throw invalidOption('a size such as 512M, 2G or 536870912', '--memory', text)
  }
  return bytes
}

function parseNumber(text: string, minimum: number, maximum: number, what: string): number {
  const number = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (!(number >= minimum && number <= maximum)) {
    throw invalidOption(`an integer from ${minimum} to ${maximum}`, what, text)
  }
  return number
}

function parseThreshold(text: string): { distinctPages: number; action: 'pause' | 'stop' | 'report' } {
  const [pages = '', action, ...rest] = text.split(':')
  if (rest.length > 0 || action === '') {
    throw invalidOption('a number of pages and an action, such as 4:pause,', '--threshold', text)
  }
  return {
    distinctPages: parseNumber(pages, 1, 2 ** 32 - 1, '--threshold'),
    action: checkOneOf(action ?? 'stop', ['pause', 'stop', 'report'], '--threshold'),
  }
}
