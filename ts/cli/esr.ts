import { invalidOption } from '../errors.ts'
import { jsonReplacer } from '../json.ts'
import { decodeEsr, formatEsr } from '../syndrome.ts'
import type { Command } from './command.ts'
import { HELP, missing, parseArguments } from './options.ts'

const OPTIONS = {
  json: { help: 'one JSON document: an array with a syndrome for every value' },
  ...HELP,
} as const

/** `seawall esr`: decodes ESR values. */
export const esr: Command = {
  usage: 'seawall esr [--json] <value>…',
  summary: 'decodes ESR values, every field',
  description: `Decodes ESR_ELx values as KVM, a kernel log or an event has them. A value is hexadecimal, with or without 0x, and has at
most 64 bits. Decimal numbers are not taken: 92000610 is 0x92000610.`,
  options: OPTIONS,
  examples: [
    ['seawall esr 0x92000610', 'one value, for people'],
    ['seawall esr 96000010 82000010', 'two values, as a kernel log prints them'],
    ["seawall esr --json 0x92000610 | jq '.[0].abort.set'", 'one field of it, for machines'],
  ],

  run(args) {
    const { values, positionals } = parseArguments('seawall esr', OPTIONS, args)
    if (positionals.length === 0) throw missing('ESR values', 'seawall esr')
    const esrs = positionals.map(parseEsr)
    const text = values.json
      ? JSON.stringify(esrs.map(decodeEsr), jsonReplacer)
      : esrs.map(formatEsr).join('\n\n')
    process.stdout.write(`${text}\n`)
    return 0
  },
}

function parseEsr(text: string): bigint {
  const [, digits] = /^(?:0x)?([0-9a-f]{1,16})$/i.exec(text) ?? []
  if (digits === undefined) throw invalidOption('a hexadecimal number of at most 64 bits', 'the ESR', text)
  return BigInt(`0x${digits}`)
}
