import { checkBoolean, checkBytes, checkInteger, checkOneOf, checkRecord, checkU64 } from './checks.ts'
import { invalidOption } from './errors.ts'
import type { NativeStep } from './native.ts'

/** Checks a script and completes its defaults. */
export function toNativeScript(script: unknown): NativeStep[][] {
  if (!Array.isArray(script)) throw invalidOption('an array of arrays of steps', 'script', script)
  // Not map(), which leaves holes out.
  return Array.from(script, (steps: unknown, vcpu) => {
    if (!Array.isArray(steps)) throw invalidOption('an array of steps', `script[${vcpu}]`, steps)
    return Array.from(steps, (step: unknown, index) => toNativeStep(step, `script[${vcpu}][${index}]`))
  })
}

const STEPS = {
  sea: ['esr', 'far', 'gpa', 'pc', 'pstate', 'ignoresInjection'],
  'kernel-abort': ['esr', 'far', 'pc', 'pstate'],
  print: ['text'],
  'mmio-read': ['gpa', 'size'],
  'mmio-write': ['gpa', 'data'],
  nisv: ['gpa', 'iss'],
  'set-register': ['name', 'value'],
  shutdown: [],
  reset: [],
  crash: [],
  run: ['us'],
  spin: [],
  exit: ['reason'],
  fail: ['errno'],
  'refuse-injection': ['errno'],
  'refuse-register': ['name', 'errno'],
} as const

const STEP_NAMES = Object.keys(STEPS) as (keyof typeof STEPS)[]

function toNativeStep(value: unknown, what: string): NativeStep {
  if (typeof value !== 'object' || value === null) throw invalidOption('an object', what, value)
  const name = checkOneOf('step' in value ? value.step : undefined, STEP_NAMES, `${what}.step`)
  const step = checkRecord(value, ['step', ...STEPS[name]], what)
  const address = (field: string, fallback?: bigint) => checkU64(step[field] ?? fallback, `${what}.${field}`)
  const text = (field: string) => {
    const found = step[field]
    if (typeof found !== 'string') throw invalidOption('a string', `${what}.${field}`, found)
    return found
  }
  const errno = () => checkInteger(step['errno'], 1, 4095, `${what}.errno`)
  switch (name) {
    case 'sea':
      return {
        step: name,
        esr: address('esr'),
        far: address('far', 0n),
        gpa: step['gpa'] == null ? null : address('gpa'),
        pc: address('pc', 0x8000_0000n),
        pstate: address('pstate', 0n),
        ignoresInjection: checkBoolean(step['ignoresInjection'] ?? false, `${what}.ignoresInjection`),
      }
    case 'kernel-abort':
      return {
        step: name,
        esr: address('esr'),
        far: address('far', 0n),
        pc: address('pc', 0x8000_0000n),
        pstate: address('pstate', 0n),
      }
    case 'print':
      return { step: name, text: text('text') }
    case 'mmio-read':
      return { step: name, gpa: address('gpa'), size: checkInteger(step['size'], 1, 8, `${what}.size`) }
    case 'mmio-write':
      return { step: name, gpa: address('gpa'), data: checkBytes(step['data'], `${what}.data`) }
    case 'nisv':
      return { step: name, gpa: address('gpa'), iss: address('iss', 0n) }
    case 'set-register':
      return { step: name, name: text('name'), value: address('value') }
    case 'exit':
      return { step: name, reason: checkInteger(step['reason'], 0, 2 ** 32 - 1, `${what}.reason`) }
    case 'run':
      return { step: name, us: checkInteger(step['us'], 1, 60_000_000, `${what}.us`) }
    case 'fail':
    case 'refuse-injection':
      return { step: name, errno: errno() }
    case 'refuse-register':
      return { step: name, name: text('name'), errno: errno() }
    case 'shutdown':
    case 'reset':
    case 'crash':
    case 'spin':
      return { step: name }
  }
}
