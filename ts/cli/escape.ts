/** Ctrl-a, which begins an escape sequence as in QEMU, screen and minicom. */
const PREFIX = 0x01

/** What an escape sequence asks for. */
export type EscapeCommand = 'quit' | 'help' | 'pause' | 'stats'

const COMMANDS: ReadonlyMap<string, EscapeCommand> = new Map([
  ['x', 'quit'],
  ['h', 'help'],
  ['?', 'help'],
  ['p', 'pause'],
  ['s', 'stats'],
])

/** What the keys do, for people. */
export const ESCAPE_HELP = `Ctrl-a x       ends the guest
Ctrl-a p       pauses the guest, or lets it go on; aborts that wait are injected
Ctrl-a s       says what the VM has counted
Ctrl-a h       this text
Ctrl-a Ctrl-a  sends Ctrl-a to the guest`

/** Tells what is typed for the guest from escape sequences. */
export class EscapeFilter {
  #escaped = false

  /** Takes what was typed, which may end in the middle of a sequence. Says in order what is for the guest and what is asked. */
  take(typed: Uint8Array): (Uint8Array | EscapeCommand)[] {
    const found: (Uint8Array | EscapeCommand)[] = []
    let begin = 0
    for (const [index, byte] of typed.entries()) {
      if (!this.#escaped) {
        if (byte !== PREFIX) continue
        if (index > begin) found.push(typed.subarray(begin, index))
      } else if (byte === PREFIX) {
        found.push(typed.subarray(index, index + 1))
      } else {
        const command = COMMANDS.get(String.fromCharCode(byte))
        // A key that means nothing is dropped, as QEMU does: it was not meant for the guest.
        if (command !== undefined) found.push(command)
      }
      this.#escaped = !this.#escaped
      begin = index + 1
    }
    if (begin < typed.length) found.push(typed.subarray(begin))
    return found
  }
}
