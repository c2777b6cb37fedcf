import { bystander, consumers, guest, processes, retired, victims } from './blast-radius-page.ts'
import type { ObservedRow } from './blast-radius-recording.ts'
import { processesOfWork, VCPUS } from './blast-radius-rows.ts'
import { type Check, check } from './demo-checks.ts'
import { hex } from './demo-recording.ts'
import { complaints } from './guest-complaints.ts'

/** What must have happened where nobody takes the exit. */
export function checkKvmAlone(row: ObservedRow): Check[] {
  return [
    check('memory failures that the monitor heard of', '0', String(row.failures.length)),
    check(
      "the guest's kernel said",
      'SError Interrupt, Kernel panic - not syncing: Asynchronous SError Interrupt',
      complaints(row.kernelLog)
        .map(({ text }) => text)
        .join(', '),
    ),
    check('the guest ended', 'reset', row.exit && (row.exit.error ?? row.exit.reason)),
  ]
}

/** What must have happened with Seawall: when the page was lost, and when the guest then worked on. */
export function checkSeawall(row: ObservedRow): Check[] {
  const { gva = null, gpa = null, signal = null } = row.victims[0] ?? {}
  const all = processesOfWork({ vcpus: VCPUS })
  const [event, ...others] = row.failures.filter(({ half }) => half === 1)
  return [
    check(
      'one memory failure',
      `sea, user mode, page ${hex(gpa)}`,
      event && others.length === 0
        ? `${event.source}, ${event.consumer?.mode} mode, page ${hex(event.gpa)}`
        : event === undefined
          ? 'none'
          : `${others.length + 1} failures`,
    ),
    check(
      'injection',
      'inject, vcpu-events+registers, ok',
      event?.injection && `${event.action}, ${event.injection.method}, ${event.injection.result}`,
    ),
    check('the page is in quarantine', 'userfaultfd', event?.quarantine?.method),
    check(
      'the victim',
      `SIGBUS, BUS_MCEERR_AR at ${hex(gva)}`,
      `${victims(row)}${signal === null ? '' : ` at ${hex(signal.address)}`}`,
    ),
    check('the bystander', 'counts on', bystander(row.first)),
    check("the guest's kernel has retired", '4 KiB', retired(row.first)),
    check('the guest', 'answers', guest(row, row.first)),
    check(
      'the guest works on with all its memory',
      `memory errors: none, ${all} of ${all} ended well`,
      row.second && `${further(row)}, ${processes(row.second)}`,
    ),
  ]
}

function further({ failures }: ObservedRow): string {
  return `memory errors: ${consumers(failures.filter(({ half }) => half === 2))}`
}
