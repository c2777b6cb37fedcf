import type { Act } from './demo-acts.ts'
import { type ActRecording, hex } from './demo-recording.ts'

/** One thing that must hold. It does where what was received is word for word what was expected. */
export interface Check {
  readonly name: string
  readonly expected: string
  readonly received: string
  readonly ok: boolean
}

/** Checks one act's recording against what the act says must come of it. */
export function checkAct(act: Act, { kvmAlone, seawall, restoredFields }: ActRecording): Check[] {
  const [event] = seawall.events
  const [exception] = seawall.exceptions
  const [alone] = kvmAlone.exceptions
  const { injection, instruction } = seawall
  const { mode, instruction: expected } = act.access
  const count = `${seawall.hits} hit, ${seawall.events.length} event, ${seawall.exceptions.length} exception`
  return [
    check('one memory error from beginning to end', '1 hit, 1 event, 1 exception', count),
    check('where from', 'sea on kvm', event && `${event.source} on ${event.backend}`),
    check('exit', describeExit(act.exit), event && describeExit({ ...event, esr: event.abort?.esr ?? null })),
    check(
      'consumer',
      `${mode} mode, ${expected}`,
      event && `${event.consumer?.mode} mode, ${instruction?.text}`,
    ),
    check(
      'injection',
      'inject, vcpu-events+registers, ok',
      injection && `${event?.action}, ${injection.method}, ${injection.result}`,
    ),
    check('handler, KVM alone', describeHandler(act.kvmAlone), alone && describeHandler(alone)),
    check('handler, with Seawall', describeHandler(act.restored), exception && describeHandler(exception)),
    check('restored', act.restoredFields.join(', '), restoredFields.join(', ')),
    check('vector', hex(act.vector), exception && hex(exception.vector)),
    check(
      "ELR_EL1 is the consumer's pc",
      event?.consumer ? hex(event.consumer.pc) : 'a pc',
      exception && hex(exception.elr),
    ),
    check('the guest went on', act.afterwards.join(', '), afterException(seawall.console).join(', ')),
    check('the guest ended by itself', 'shutdown', seawall.exit.error ?? seawall.exit.reason),
  ]
}

/** Compares what was expected and what was received, word for word. */
export function check(name: string, expected: string, received: string | null | undefined): Check {
  return { name, expected, received: received || 'nothing', ok: expected === received }
}

function describeExit(exit: { esr: bigint | null; gva: bigint | null; gpa: bigint | null }): string {
  return `esr ${hex(exit.esr)}, gva ${hex(exit.gva)}, gpa ${hex(exit.gpa)}`
}

function describeHandler(read: { esr: bigint; far: bigint }): string {
  return `ESR_EL1 ${hex(read.esr)}, FAR_EL1 ${hex(read.far)}`
}

/** What the guest printed after its first exception. */
export function afterException(console: string): string[] {
  const lines = console.split(/\r?\n/).filter((line) => line !== '')
  const first = lines.findIndex((line) => line.startsWith('exception '))
  return first === -1 ? [] : lines.slice(first + 1)
}
