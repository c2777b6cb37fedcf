/** How many lines are kept. */
const LINES = 2000
/** A line is broken here: a guest may never end one. */
const COLUMNS = 1000
const TAB = 8

/** Where a piece of text is within an escape sequence (ECMA-48). */
type Mode = 'text' | 'escape' | 'sequence' | 'string' | 'string-escape' | 'charset'

/**
 * The lines that a guest's output makes: text, with carriage returns, backspaces and tabulators, and with the erasing that editors
 * of command lines do. All other escape sequences are left out, and so are characters that would turn text around.
 */
export class ConsoleText {
  /** The lines that are kept; the last one is the one that is written to. */
  readonly lines: string[] = ['']
  /** How many lines came before them. */
  dropped = 0
  #column = 0
  #mode: Mode = 'text'
  #parameters = ''

  write(text: string): void {
    let plain = ''
    for (const character of text) {
      if (this.#mode === 'text' && isPlain(character)) {
        plain += character
        continue
      }
      this.#put(plain)
      plain = ''
      if (this.#mode === 'text') this.#control(character)
      else this.#escape(character)
    }
    this.#put(plain)
  }

  /** Begins a new line, whatever was in the middle of being written. */
  breakOff(): void {
    this.#mode = 'text'
    if (this.lines.at(-1) !== '') this.#newLine()
  }

  #put(text: string): void {
    for (let rest = text; rest !== ''; ) {
      const room = COLUMNS - this.#column
      if (room <= 0) {
        this.#newLine()
        continue
      }
      // What was there is overwritten.
      const part = rest.slice(0, room)
      const line = this.lines.at(-1) ?? ''
      const written = line.slice(0, this.#column) + part + line.slice(this.#column + part.length)
      this.lines[this.lines.length - 1] = written
      this.#column += part.length
      rest = rest.slice(room)
    }
  }

  #control(character: string): void {
    switch (character) {
      case '\n':
        this.#newLine()
        break
      case '\r':
        this.#column = 0
        break
      case '\b':
        this.#column = Math.max(0, this.#column - 1)
        break
      case '\t':
        this.#put(' '.repeat(TAB - (this.#column % TAB)))
        break
      case '\u001b':
        this.#mode = 'escape'
        break
      default:
        // A control character that means nothing here makes nothing; a direction is shown to have been there.
        if (character > '\u009f') this.#put('\ufffd')
    }
  }

  #escape(character: string): void {
    switch (this.#mode) {
      case 'escape':
        this.#parameters = ''
        if (character === '[') this.#mode = 'sequence'
        else if (']P_^X'.includes(character)) this.#mode = 'string'
        else if ('()*+ #%'.includes(character)) this.#mode = 'charset'
        else this.#mode = 'text'
        break
      case 'sequence':
        if (character >= '@' && character <= '~') {
          this.#mode = 'text'
          this.#erase(character)
        } else if (character < ' ') {
          // No sequence has such a character: it is text again.
          this.#mode = 'text'
          this.#control(character)
        } else if (this.#parameters.length < 16) this.#parameters += character
        break
      case 'string':
        if (character === '\u0007') this.#mode = 'text'
        else if (character === '\u001b') this.#mode = 'string-escape'
        else if (character === '\n') {
          // Nor has a title, and one that never ends would swallow everything.
          this.#mode = 'text'
          this.#control(character)
        }
        break
      default:
        this.#mode = 'text'
    }
  }

  #erase(final: string): void {
    const isToEnd = this.#parameters === '' || this.#parameters === '0'
    const line = this.lines.at(-1) ?? ''
    if ((final === 'K' || final === 'J') && isToEnd)
      this.lines[this.lines.length - 1] = line.slice(0, this.#column)
    else if (final === 'K' && this.#parameters === '2') this.lines[this.lines.length - 1] = ''
  }

  #newLine(): void {
    this.#column = 0
    this.lines.push('')
    if (this.lines.length <= LINES) return
    this.lines.shift()
    this.dropped += 1
  }
}

function isPlain(character: string): boolean {
  if (character < ' ') return false
  if (character < '\u007f') return true
  return character > '\u009f' && !isDirection(character)
}

/** Characters that change the direction of text around them (UAX #9), or break its line. */
function isDirection(character: string): boolean {
  return /[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/.test(character)
}
