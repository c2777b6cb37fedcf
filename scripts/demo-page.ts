import type { Injection, MemoryFailureEvent } from 'seawall'
import { type Act, BAD_PAGE } from './demo-acts.ts'
import { afterException, type Check } from './demo-checks.ts'
import type { Performance } from './demo-place.ts'
import { type ActRecording, hex } from './demo-recording.ts'
import { entry, INDENT, joined, marks, wrapped } from './demo-text.ts'

/** An act, what was seen of it, and whether it is what had to be seen. */
export interface PlayedAct {
  readonly act: Act
  readonly recording: ActRecording
  readonly checks: readonly Check[]
}

/** The fields of a syndrome that get a line even where they are 0; all others have to say something. */
const FIELDS_OF_ABORT = ['EC', 'SET', 'FnV', 'EA', 'WnR', 'DFSC']
/** Says nothing about an abort, and is always 1. */
const INSTRUCTION_LENGTH = 'IL'

const METHODS: Record<Injection['method'], string> = {
  'vcpu-events': 'KVM_SET_VCPU_EVENTS enters the handler; nothing is restored',
  'vcpu-events+registers':
    'KVM_SET_VCPU_EVENTS enters the handler, then KVM_SET_ONE_REG restores the syndrome',
  registers: 'KVM_SET_ONE_REG alone, because KVM_SET_VCPU_EVENTS did nothing',
  serror: 'an SError',
  none: 'nothing',
}

/** Writes the demo for people, in lines of at most 100 characters. */
export function renderPage(performance: Performance, played: readonly PlayedAct[], colours: boolean): string {
  const lines = [
    ...head(performance),
    ...played.flatMap((one, index) => [
      '',
      `Act ${index + 1}: ${one.act.title}`,
      '',
      ...story(one),
      '',
      ...marks(one.checks),
    ]),
    '',
    ...verdict(played),
  ]
  return joined(lines, colours)
}

function head({ place, qemu, recording: { kernel, node, support } }: Performance): string[] {
  return [
    'Seawall demo: two guests consume a memory error, and go on',
    '',
    ...entry('Host', `Linux ${kernel} on arm64, KVM ${support.status}, Node ${node.replace(/^v/, '')}`),
    ...entry(
      'Where',
      place === 'lab' ? `in the lab: QEMU ${qemu} emulates the host` : 'natively, on this machine',
    ),
    ...entry(
      'Error',
      `guest page ${hex(BAD_PAGE)} goes bad; a kernel module plays the hardware that finds out`,
    ),
  ]
}

function story({ act, recording }: PlayedAct): string[] {
  const { seawall, kvmAlone, syndrome, restoredFields } = recording
  const event = seawall.events[0]
  const [alone, restored] = [kvmAlone.exceptions[0], seawall.exceptions[0]]
  const row = (who: string, esr: string, far: string, note: string): string[] =>
    wrapped(`${INDENT}  ${who.padEnd(14)}${esr.padEnd(13)}${far.padEnd(17)}`, note)
  return [
    ...access(act, recording),
    ...(event === undefined ? entry('Exit', 'none') : exit(event, syndrome?.text ?? '')),
    ...entry('Injected', seawall.injection === null ? 'nothing' : METHODS[seawall.injection.method]),
    ...(alone === undefined || restored === undefined
      ? []
      : [
          ...row('', 'ESR_EL1', 'FAR_EL1', ''),
          ...row('KVM alone', hex(alone.esr), hex(alone.far), 'seen in an earlier run, not restored'),
          ...row(
            'with Seawall',
            hex(restored.esr),
            hex(restored.far),
            `restored: ${restoredFields.join(', ') || 'nothing'}`,
          ),
        ]),
    ...entry(
      'Handler',
      restored === undefined
        ? 'of the guest: it never ran'
        : `of the guest, vector ${hex(restored.vector)}: ESR_EL1 ${hex(restored.esr)}, ` +
            `FAR_EL1 ${hex(restored.far)}, ELR_EL1 ${hex(restored.elr)}`,
    ),
    ...entry(
      'Then',
      `the guest printed ${quoted(afterException(seawall.console))}; it ended: ${seawall.exit.reason}`,
    ),
  ]
}

function access({ access: { mode, verb, address }, rule }: Act, { seawall }: ActRecording): string[] {
  const pc = seawall.events[0]?.consumer?.pc ?? null
  const { word, text } = seawall.instruction ?? { word: null, text: 'not in the image' }
  const level = mode === 'user' ? 'user mode (EL0)' : 'kernel mode (EL1)'
  return [
    ...entry('Access', `${level}, pc ${hex(pc)}: ${text} (word ${hex(word)})`),
    ...wrapped(INDENT, `${verb} 8 bytes at ${hex(address)}, in the bad page ${hex(BAD_PAGE)}`),
    ...entry('Hardware', `played by a rule of sea-inject: ${rule}`),
  ]
}

function exit({ abort, gva, gpa, ...event }: MemoryFailureEvent, syndrome: string): string[] {
  const esr = abort?.esr ?? null
  return [
    ...entry('Exit', `KVM_EXIT_ARM_SEA: esr ${hex(esr)}, gva ${hex(gva)}, gpa ${hex(gpa)}`),
    ...syndrome.split('\n').flatMap(fieldLine),
    ...entry(
      'Event',
      `memory-failure: ${event.severity}; action ${event.action}, decided by ${event.decidedBy}`,
    ),
  ]
}

/** Of formatEsr's lines, `  NAME   hi:lo  value  meaning`, those that matter, set closer. */
function fieldLine(line: string): string[] {
  const [, name = '', bits = '', value = '', meaning = ''] =
    /^ {2}(\S+) +(\S+) +(\S+) *(.*)$/.exec(line) ?? []
  const says = FIELDS_OF_ABORT.includes(name) || Number(value) !== 0
  if (!says || name === '' || name === 'RES0' || name === INSTRUCTION_LENGTH) return []
  return wrapped(`${INDENT}  ${name.padEnd(5)}${bits.padStart(5)}  ${value.padEnd(6)}`, meaning)
}

function verdict(played: readonly PlayedAct[]): string[] {
  const checks = played.flatMap((one) => one.checks)
  const failed = played.flatMap((one, index) =>
    one.checks.filter(({ ok }) => !ok).flatMap(({ name }) => wrapped(`  ✗ act ${index + 1}: `, name)),
  )
  if (failed.length === 0) return [`All ${checks.length} checks hold: both errors were contained.`]
  return [`${failed.length} of ${checks.length} checks failed:`, ...failed]
}

function quoted(lines: readonly string[]): string {
  return lines.map((line) => JSON.stringify(line)).join(', ') || 'nothing'
}
