import { element, find } from './elements.js'

/** How many lines the page keeps. */
const LINES = 200

/** What else happens to the VM, the newest first, in a line each. */
export class Timeline {
  readonly #list = find('timeline')

  add(time: string | null, words: string, kind = ''): void {
    const at = element('time', 'when mono', time === null ? '' : time.slice(11, 23))
    if (time !== null) at.dateTime = time
    this.#list.prepend(element('li', kind, at, element('span', '', words)))
    while (this.#list.childElementCount > LINES) this.#list.lastElementChild?.remove()
  }

  clear(): void {
    this.#list.replaceChildren()
  }
}
