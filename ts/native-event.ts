import type { VmEvent, VmExit } from './events.ts'
import { type NativeEvent, type NativeExit, toError } from './native.ts'

/** An event that is no memory failure, as the public API has it. */
export function toEvent(event: NativeEvent): VmEvent {
  switch (event.type) {
    case 'exit':
      return { ...event, exit: toExit(event.exit) }
    case 'decision-fallback': {
      const { error, ...fallback } = event
      return error === null ? fallback : { ...fallback, error }
    }
    default:
      return event
  }
}

/** How a VM ended, as the public API has it. */
export function toExit({ error, ...exit }: NativeExit): VmExit {
  return error === null ? exit : { ...exit, error: toError(error) }
}
