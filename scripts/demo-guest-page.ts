import { bystander, complaint, guest, victims } from './blast-radius-page.ts'
import type { ObservedRow } from './blast-radius-recording.ts'
import { GUEST_MEMORY_MIB, VCPUS } from './blast-radius-rows.ts'
import type { Check } from './demo-checks.ts'
import { hex } from './demo-recording.ts'
import { entry, joined, marks, wrapped } from './demo-text.ts'
import { complaints } from './guest-complaints.ts'

/** One run of the guest, and whether it is what had to be seen. */
export interface PlayedRun {
  readonly row: ObservedRow
  readonly checks: readonly Check[]
}

/** Where the guest ran. */
export interface Place {
  readonly kernel: string
  readonly node: string
  readonly qemu: string
}

/** Writes the demo for people: the same guest with KVM alone, and with Seawall. */
export function renderGuestPage(
  place: Place,
  kvmAlone: PlayedRun,
  seawall: PlayedRun,
  colours: boolean,
): string {
  const checks = [...kvmAlone.checks, ...seawall.checks]
  const failed = checks.filter(({ ok }) => !ok)
  const lines = [
    'Seawall demo: a process of a Linux guest loads from a page that has gone bad',
    '',
    ...entry('Host', `Linux ${place.kernel} on arm64, Node ${place.node.replace(/^v/, '')}`),
    ...entry('Where', `in the lab: QEMU ${place.qemu} emulates the host`),
    ...entry(
      'Guest',
      `Linux ${seawall.row.release}, ${VCPUS} vCPUs, ${GUEST_MEMORY_MIB} MiB, booted by Seawall`,
    ),
    ...entry('Error', 'the page of a process goes bad; a kernel module plays the hardware that finds out'),
    '',
    'Run 1: KVM alone (capabilities: { armSeaToUser: false })',
    '',
    ...page(kvmAlone.row),
    ...exit(kvmAlone.row),
    ...entry('Kernel', kernel(kvmAlone.row)),
    ...entry('Guest', `it ended: ${kvmAlone.row.exit?.reason ?? 'not at all'}`),
    '',
    ...marks(kvmAlone.checks),
    '',
    'Run 2: with Seawall',
    '',
    ...page(seawall.row),
    ...exit(seawall.row),
    ...entry('Victim', victims(seawall.row)),
    ...entry('Told', told(seawall.row)),
    ...entry('Kernel', kernel(seawall.row)),
    ...entry('Bystander', counts(seawall.row)),
    ...entry('Guest', guest(seawall.row, seawall.row.first)),
    '',
    ...marks(seawall.checks),
    '',
    ...(failed.length === 0
      ? [
          `All ${checks.length} checks hold: with KVM alone the error ended the guest, with Seawall the victim.`,
        ]
      : [
          `${failed.length} of ${checks.length} checks failed:`,
          ...failed.flatMap(({ name }) => wrapped('  ✗ ', name)),
        ]),
  ]
  return joined(lines, colours)
}

function page({ victims: [victim] }: ObservedRow): string[] {
  const { gva = null, gpa = null } = victim ?? {}
  return entry('Page', `${hex(gva)} of the victim, guest-physical ${hex(gpa)}`)
}

function exit({ failures: [event] }: ObservedRow): string[] {
  if (event === undefined) return entry('Exit', 'none: nobody but KVM heard of the error')
  const { abort, gva, gpa, consumer, injection, action } = event
  return [
    ...entry('Exit', `KVM_EXIT_ARM_SEA: esr ${hex(abort?.esr ?? null)}, gva ${hex(gva)}, gpa ${hex(gpa)}`),
    ...entry('Event', `memory-failure: ${consumer?.mode} mode, pc ${hex(consumer?.pc ?? null)}; ${action}`),
    ...entry('Injected', `${injection?.method ?? 'nothing'}; ESR_EL1 ${hex(injection?.esr ?? null)}`),
  ]
}

function told({ failures: [event] }: ObservedRow): string {
  return event?.notified == null
    ? 'nothing'
    : `by ACPI error source ${event.notified.source}, before the abort`
}

function counts({ first }: ObservedRow): string {
  if (first.bystander === null) return 'silent'
  return `${bystander(first)}: ${first.bystander.before}, then ${first.bystander.after}`
}

function kernel({ kernelLog }: ObservedRow): string {
  return complaints(kernelLog).map(complaint).join('; ') || 'nothing'
}
