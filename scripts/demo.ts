import { parseArgs } from 'node:util'
import { LabError } from '../lab/lab.ts'
import { playGuest } from './demo-guest.ts'
import { playMicro } from './demo-micro.ts'
import { toJson } from './demo-recording.ts'

const HELP = `Shows a memory error contained: a Linux guest loses one process. With KVM alone the same guest panics.

npm run demo -- [options]

  --micro   two micro-guests instead, register by register
  --json    one JSON document instead, on the last line of stdout; addresses and registers as "0x…"
  --help    this text

Runs in the lab, which it sets up first; the micro-guests run on this machine where it has an active KVM and the injector.
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
        micro: { type: 'boolean', default: false },
      },
    })
    json = values.json
    if (values.help) {
      process.stdout.write(HELP)
      return 0
    }
    const played = await (values.micro ? playMicro() : playGuest())
    process.stdout.write(json ? `${toJson(played.document)}\n` : played.page(wantsColours()))
    return played.ok ? 0 : CHECK_FAILED
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const code = error instanceof LabError ? error.code : null
    process.stderr.write(`demo: not played: ${code === null ? '' : `${code}: `}${message}\n`)
    if (json) process.stdout.write(`${toJson({ schemaVersion: 1, ok: false, error: { code, message } })}\n`)
    return NOT_PLAYED
  }
}

function wantsColours(): boolean {
  return process.stdout.isTTY === true && process.env['NO_COLOR'] === undefined
}

process.exitCode = await main()
