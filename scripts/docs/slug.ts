/** The anchors of a page's headings as GitHub makes them: unique in the page. */
export class Anchors {
  readonly #seen = new Map<string, number>()

  /** The anchor of the next heading, by its text. */
  next(heading: string): string {
    const slug = heading
      .toLowerCase()
      .replace(/[^\p{Letter}\p{Number} _-]/gu, '')
      .replaceAll(' ', '-')
    const before = this.#seen.get(slug)
    this.#seen.set(slug, (before ?? 0) + 1)
    return before === undefined ? slug : `${slug}-${before}`
  }
}
