import type { Duplex } from 'node:stream'
import { type EscapeCommand, EscapeFilter } from './escape.ts'

/** Connects a guest's output with standard output. Answers when all of it was handed on. */
export function connectOutput(guest: Duplex, onFailure: (code: string) => void): Promise<void> {
  process.stdout.once('error', ({ code = 'unknown' }: NodeJS.ErrnoException) => {
    // The guest runs on without a reader, and its output goes nowhere.
    guest.unpipe(process.stdout)
    guest.resume()
    onFailure(code)
  })
  guest.pipe(process.stdout, { end: false })
  return ended(guest)
}

/** Lets a guest's output go nowhere. Answers when there is no more. */
export function discardOutput(guest: Duplex): Promise<void> {
  guest.resume()
  return ended(guest)
}

function ended(guest: Duplex): Promise<void> {
  return new Promise((resolve) => guest.once('end', resolve))
}

/** Hands on every byte of standard input; its end is none of the guest's. Returns what disconnects it. */
export function connectInput(guest: Duplex, onFailure: (code: string) => void): () => void {
  const { stdin } = process
  stdin.once('error', ({ code = 'unknown' }: NodeJS.ErrnoException) => onFailure(code))
  stdin.pipe(guest, { end: false })
  return () => {
    stdin.unpipe(guest)
    stdin.pause()
  }
}

/** Hands on what is typed at a terminal in raw mode, and tells of escape sequences. Returns what disconnects it. */
export function connectKeyboard(guest: Duplex, onCommand: (command: EscapeCommand) => void): () => void {
  const { stdin } = process
  const filter = new EscapeFilter()
  // Without back-pressure: the keys that end the guest come the same way as those that it does not read.
  const take = (typed: Uint8Array): void => {
    for (const part of filter.take(typed)) {
      if (typeof part === 'string') onCommand(part)
      else guest.write(part)
    }
  }
  stdin.on('data', take)
  return () => {
    stdin.off('data', take)
    stdin.pause()
  }
}
