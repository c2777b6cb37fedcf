import type { MemoryFailureEvent } from '../../../events.js'
import type { Json, Messages } from '../wire.js'
import { element, find } from './elements.js'
import { failureCard } from './failure-card.js'

/** How many failures the page keeps. */
const CARDS = 100
/** How many it shows of them until somebody asks for all: the number that the style has. */
const SHOWN = 25

/** The memory failures, the newest first. The newest is open until somebody looks into one himself. */
export class FailureList {
  readonly #list = find('failures')
  #follows = true
  #newest: HTMLDetailsElement | undefined
  #dropped = 0

  constructor() {
    find('older').addEventListener('click', () => {
      this.#list.classList.add('all')
      this.#say()
    })
  }

  add(message: Json<Messages['event']>, failure: Json<MemoryFailureEvent>): void {
    const card = failureCard(message, failure)
    card.querySelector('summary')?.addEventListener('click', () => {
      this.#follows = false
    })
    if (this.#follows) {
      if (this.#newest !== undefined) this.#newest.open = false
      card.open = true
    }
    this.#newest = card
    this.#list.prepend(element('li', '', card))
    while (this.#list.childElementCount > CARDS) {
      this.#list.lastElementChild?.remove()
      this.#dropped += 1
    }
    this.#say()
  }

  clear(): void {
    this.#list.replaceChildren()
    this.#newest = undefined
    this.#dropped = 0
    this.#follows = true
    this.#list.classList.remove('all')
    this.#say()
  }

  #say(): void {
    const kept = this.#list.childElementCount
    find('no-failures').hidden = kept > 0
    const older = find('older')
    older.hidden = kept <= SHOWN || this.#list.classList.contains('all')
    older.textContent = `Show ${kept - SHOWN} older failures`
    find('more-failures').textContent =
      this.#dropped > 0 ? `${this.#dropped.toLocaleString('en')} older failures are no longer shown.` : ''
  }
}
