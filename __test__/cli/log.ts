import { existsSync, readFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { jsonReviver, type VmEvent, type VmState } from 'seawall'

const ajv = new Ajv2020({ strict: true, allErrors: true })
const isEvent = ajv.compile(JSON.parse(readFileSync('schema/events.schema.json', 'utf8')))

/** Reads the log of a VM's whole life: every line is an event by the schema, none is missing, and the last one closes it. */
export function parseLog(text: string): VmEvent[] {
  if (!text.endsWith('\n')) throw new Error(`the last line has no end: ${text.slice(-80)}`)
  const events = text
    .slice(0, -1)
    .split('\n')
    .map((line): VmEvent => {
      const valid: boolean = isEvent(JSON.parse(line))
      if (!valid) throw new Error(`${line}: ${ajv.errorsText(isEvent.errors)}`)
      return JSON.parse(line, jsonReviver)
    })
  for (const [index, { seq }] of events.entries()) {
    if (seq !== index + 1) throw new Error(`event ${index + 1} has number ${seq}`)
  }
  if (statesIn(events).at(-1) !== 'closed') throw new Error('the log ends before the VM does')
  return events
}

/** Reads the log in a file. */
export function readLog(path: string): VmEvent[] {
  return parseLog(readFileSync(path, 'utf8'))
}

/** Waits until a file holds something. */
export async function holds(path: string, pattern: RegExp): Promise<void> {
  while (!existsSync(path) || !pattern.test(readFileSync(path, 'utf8'))) await setTimeout(5)
}

/** The states that a log tells of. */
export function statesIn(events: readonly VmEvent[]): VmState[] {
  return events.flatMap((event) => (event.type === 'state-changed' ? [event.to] : []))
}
