import { ConsoleText } from './console-text.js'
import { element, find, oncePerFrame } from './elements.js'

/** How far from its end, in pixels, the console may be and still follow it. */
const NEAR = 24

/** The guest's console: what it prints, and a line for what it is to read. */
export class ConsoleView {
  readonly #screen = find('screen')
  #text = new ConsoleText()
  /** How many lines of the text are no longer, or not yet, on the screen. */
  #first = 0
  readonly #draw = oncePerFrame(() => this.#drawLines())

  constructor() {
    const input = find('input') as HTMLInputElement
    find('typing').addEventListener('submit', (event) => {
      event.preventDefault()
      void this.#send(`${input.value}\n`)
      input.value = ''
    })
    find('interrupt').addEventListener('click', () => void this.#send('\u0003'))
  }

  write(text: string): void {
    this.#text.write(text)
    this.#draw()
  }

  /** Says that something is missing here. */
  lose(characters: number): void {
    this.#text.breakOff()
    this.#text.write(`[${characters.toLocaleString('en')} characters are lost here]\n`)
    this.#draw()
  }

  clear(): void {
    this.#text = new ConsoleText()
    this.#first = 0
    this.#screen.replaceChildren()
    this.#draw()
  }

  /** Nobody reads any more. */
  end(): void {
    ;(find('input') as HTMLInputElement).placeholder = 'The guest has ended'
    for (const id of ['input', 'send', 'interrupt']) find(id).setAttribute('disabled', '')
  }

  #drawLines(): void {
    const screen = this.#screen
    const follows = screen.scrollTop + screen.clientHeight >= screen.scrollHeight - NEAR
    const { lines, dropped } = this.#text
    while (this.#first < dropped && screen.firstChild !== null) {
      screen.firstChild.remove()
      this.#first += 1
    }
    // All that was on the screen may be gone at once.
    if (screen.firstChild === null) this.#first = dropped
    const shown = screen.childElementCount
    // The last line that is there may have been written to since.
    for (let index = Math.max(0, shown - 1); index < lines.length; index += 1) {
      const text = lines[index] ?? ''
      const line = screen.children[index] ?? screen.appendChild(element('div', 'line'))
      if (line.textContent !== text) line.textContent = text
    }
    find('no-output').hidden = dropped > 0 || lines.length > 1 || lines[0] !== ''
    if (follows) screen.scrollTop = screen.scrollHeight
  }

  async #send(text: string): Promise<void> {
    const problem = find('input-problem')
    try {
      const response = await fetch('input', { method: 'POST', body: text })
      problem.textContent = response.ok ? '' : await response.text()
    } catch {
      problem.textContent = 'the connection is lost'
    }
  }
}
