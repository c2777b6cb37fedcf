import { SeawallError } from '../errors.ts'
import { version } from '../version.ts'
import type { Command } from './command.ts'
import { type Check, diagnose } from './diagnosis.ts'
import { EXIT_CODE } from './exit-code.ts'
import { readHostFacts } from './host-facts.ts'
import { HELP, parseArguments, refusePositionals } from './options.ts'

const OPTIONS = { json: { help: 'one JSON document' }, ...HELP } as const

/** `seawall doctor`: says what the host can do. */
export const doctor: Command = {
  usage: 'seawall doctor [--json]',
  summary: 'says what this host can do, why not more, and what to change',
  description: `Checks whether memory errors are contained on this host, by what this process may do: run it as the user, and in the
container, that will run the guests. It changes nothing.

  ok       as it should be
  warning  guests run, and something is contained less well
  missing  memory errors are not contained without it`,
  options: OPTIONS,
  exitCodes: [
    ['0', 'memory errors are contained here (active)'],
    ['1', 'they are not (inert, unsupported, or no addon)'],
    ['2', 'an option is wrong'],
  ],
  examples: [
    ['seawall doctor', 'for people'],
    [
      'seawall doctor --json | jq -r \'.checks[] | select(.status != "ok") | .change\'',
      'what to change, a line each',
    ],
  ],

  run(args) {
    const { values, positionals } = parseArguments('seawall doctor', OPTIONS, args)
    refusePositionals('seawall doctor', positionals)
    const facts = readHostFacts()
    const { platform, arch, kernel, support } = facts
    const checks = diagnose(facts)
    const answer =
      support instanceof SeawallError
        ? { status: null, reasons: [support.message] }
        : { status: support.status, reasons: support.reasons }
    if (values.json) {
      const versions = { seawall: version(), node: process.versions.node }
      process.stdout.write(`${JSON.stringify({ ...answer, platform, arch, kernel, ...versions, checks })}\n`)
    } else {
      const host = `${platform} ${kernel} on ${arch}, Node ${process.versions.node}, Seawall ${version()}`
      const lines = [
        `${answer.status ?? 'no addon'}: ${host}`,
        ...answer.reasons.map((reason) => `  ${reason}`),
      ]
      process.stdout.write(`${[...lines, '', ...checks.map(describe)].join('\n')}\n`)
    }
    return answer.status === 'active' ? EXIT_CODE.ok : EXIT_CODE.error
  },
}

function describe({ id, status, found, why, change }: Check): string {
  const lines = [`${status.padEnd(8)} ${id.padEnd(15)} ${found}`]
  if (status !== 'ok') {
    lines.push(`${' '.repeat(25)}why: ${why}`)
    if (change !== null) lines.push(`${' '.repeat(25)}do:  ${change}`)
  }
  return lines.join('\n')
}
