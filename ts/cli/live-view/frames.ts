import type { VmEvent } from '../../events.ts'
import { jsonReplacer } from '../../json.ts'
import { eventWords } from './event-words.ts'
import type { Syndromes } from './syndromes.ts'
import type { Messages } from './wire.ts'

/** Makes an event's server-sent event, without its id. */
export type Frame = () => string

/** A message as a server-sent event; `id` is what the browser sends back as Last-Event-ID. */
export function toFrame<Name extends keyof Messages>(name: Name, data: Messages[Name], id?: string): string {
  return `${id === undefined ? '' : `id: ${id}\n`}event: ${name}\ndata: ${JSON.stringify(data, jsonReplacer)}\n\n`
}

/** The frame of an event: made when somebody is told of it, and then once for everybody. A storm costs nothing where nobody looks. */
export function eventFrame(event: VmEvent, syndromes: Syndromes): Frame {
  let frame: string | undefined
  return () => {
    frame ??= toEventFrame(event, syndromes)
    return frame
  }
}

/** What {@link toFrame} makes of {@link Messages.event}, from parts that are JSON already. */
function toEventFrame(event: VmEvent, syndromes: Syndromes): string {
  const { abort, injection } = event.type === 'memory-failure' ? event : {}
  const parts = {
    event: JSON.stringify(event, jsonReplacer),
    words: JSON.stringify(eventWords(event)),
    syndrome: syndromes.json(abort?.esr),
    injected: syndromes.json(injection?.esr),
  } satisfies Record<keyof Messages['event'], string>
  const { words, syndrome, injected } = parts
  return `event: event\ndata: {"event":${parts.event},"words":${words},"syndrome":${syndrome},"injected":${injected}}\n\n`
}
