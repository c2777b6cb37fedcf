import type { ObservedRow, RowRecording } from './blast-radius-recording.ts'
import { ROWS } from './blast-radius-rows.ts'
import { runExperiment } from './blast-radius-run.ts'
import { checkKvmAlone, checkSeawall } from './demo-guest-checks.ts'
import { type PlayedRun, renderGuestPage } from './demo-guest-page.ts'
import type { Played } from './demo-micro.ts'

/** Plays the Linux guest, once with KVM alone and once with Seawall: two rows of the blast radius. */
export async function playGuest(): Promise<Played> {
  const wanted = ['kvm-load', 'seawall-load'].flatMap((id) => ROWS.filter((row) => row.id === id))
  const { experiment, qemu } = await runExperiment(wanted)
  const { kernel, node, rows } = experiment
  const kvmAlone = played(rows, 'kvm-load', checkKvmAlone)
  const seawall = played(rows, 'seawall-load', checkSeawall)
  const ok = [kvmAlone, seawall].every(({ checks }) => checks.every((check) => check.ok))
  return {
    ok,
    document: {
      schemaVersion: 1,
      demo: 'linux',
      ok,
      host: { place: 'lab', kernel, qemu, node },
      runs: [kvmAlone, seawall].map(({ row, checks }) => ({ ...row, checks })),
    },
    page: (colours) => renderGuestPage({ kernel, qemu, node }, kvmAlone, seawall, colours),
  }
}

function played(
  rows: readonly RowRecording[],
  id: string,
  checksOf: (row: ObservedRow) => PlayedRun['checks'],
): PlayedRun {
  const row = rows.find((one) => one.id === id)
  if (row === undefined) throw new Error(`Expected row ${id} in the recording but found none`)
  if ('error' in row) throw new Error(row.error)
  return { row, checks: checksOf(row) }
}
