import { parseArgs } from 'node:util'
import { LabError } from '../lab/lab.ts'
import { MICRO_ACTS } from './demo-acts.ts'
import { checkAct } from './demo-checks.ts'
import { type PlayedAct, renderPage } from './demo-page.ts'
import { type Performance, perform } from './demo-place.ts'
import { toJson } from './demo-recording.ts'

const HELP = `Shows memory errors contained: two small guests touch a bad page, take the abort, and go on.

npm run demo -- [options]

  --micro   the two micro-guests (default)
  --json    one JSON document instead, on the last line of stdout; addresses and registers as "0x…"
  --help    this text

Runs on this machine where it has an active KVM and the injector, else in the lab, which it sets up first.
Exit code: 0 if every check holds, 1 if one does not, 2 if the demo could not be played.
`

const CHECK_FAILED = 1
const NOT_PLAYED = 2

async function main(): Promise<number> {
  let json = process.argv.includes('--json')
  try {
    const { values } = parseArgs({
      options: {
        help: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        micro: { type: 'boolean', default: true },
      },
    })
    json = values.json
    if (values.help) {
      process.stdout.write(HELP)
      return 0
    }
    const performance = await perform()
    const played = MICRO_ACTS.map((act): PlayedAct => {
      const recording = performance.recording.acts.find(({ id }) => id === act.id)
      if (recording === undefined) throw new Error(`Expected act ${act.id} in the recording but found none`)
      return { act, recording, checks: checkAct(act, recording) }
    })
    const ok = played.every(({ checks }) => checks.every((check) => check.ok))
    process.stdout.write(
      json
        ? `${toJson(toDocument(ok, performance, played))}\n`
        : renderPage(performance, played, wantsColours()),
    )
    return ok ? 0 : CHECK_FAILED
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const code = error instanceof LabError ? error.code : null
    process.stderr.write(`demo: not played: ${code === null ? '' : `${code}: `}${message}\n`)
    if (json) process.stdout.write(`${toJson({ schemaVersion: 1, ok: false, error: { code, message } })}\n`)
    return NOT_PLAYED
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

function wantsColours(): boolean {
  return process.stdout.isTTY === true && process.env['NO_COLOR'] === undefined
}

process.exitCode = await main()
