import { MICRO_ACTS } from './demo-acts.ts'
import { checkAct } from './demo-checks.ts'
import { type PlayedAct, renderPage } from './demo-page.ts'
import { type Performance, perform } from './demo-place.ts'

/** A demo that was played: whether it showed what it had to, and how to tell. */
export interface Played {
  readonly ok: boolean
  /** As one document for machines. */
  readonly document: object
  /** For people. */
  page(colours: boolean): string
}

/** Plays the micro-guests. */
export async function playMicro(): Promise<Played> {
  const performance = await perform()
  const played = MICRO_ACTS.map((act): PlayedAct => {
    const recording = performance.recording.acts.find(({ id }) => id === act.id)
    if (recording === undefined) throw new Error(`Expected act ${act.id} in the recording but found none`)
    return { act, recording, checks: checkAct(act, recording) }
  })
  const ok = played.every(({ checks }) => checks.every((check) => check.ok))
  return {
    ok,
    document: toDocument(ok, performance, played),
    page: (colours) => renderPage(performance, played, colours),
  }
}

function toDocument(ok: boolean, performance: Performance, played: readonly PlayedAct[]): object {
  const { place, qemu, recording } = performance
  const { kernel, node, support } = recording
  const acts = played.map(({ act: { title, guest, access }, recording: { id, ...seen }, checks }) => {
    return { id, title, guest, access, ...seen, checks }
  })
  return { schemaVersion: 1, demo: 'micro', ok, host: { place, kernel, qemu, node, support }, acts }
}
