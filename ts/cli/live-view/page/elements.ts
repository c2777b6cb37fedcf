/** What an element holds: text is text, whatever it looks like. */
export type Content = Node | string

/** Makes an element. Its class is the only attribute that most have. */
export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  className: string,
  ...content: Content[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag)
  if (className !== '') made.className = className
  made.append(...content)
  return made
}

/** Finds an element of the page by its id. */
export function find(id: string): HTMLElement {
  const found = document.getElementById(id)
  if (found === null) throw new Error(`the page has no #${id}`)
  return found
}

/** Calls a function once before the next frame, however often that is asked for until then. */
export function oncePerFrame(draw: () => void): () => void {
  let asked = false
  return () => {
    if (asked) return
    asked = true
    const now = () => {
      if (!asked) return
      asked = false
      draw()
    }
    requestAnimationFrame(now)
    // A page in the background has no frames, and must not gather what it has to draw for ever.
    setTimeout(now, 1000)
  }
}
