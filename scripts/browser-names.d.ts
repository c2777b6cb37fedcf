// The types of playwright-core name these of the DOM. Programs for Node do not see the DOM, and these have only what tells them
// from each other.
interface Node {
  readonly nodeType: number
}
interface HTMLElement extends Node {
  readonly innerText: string
}
interface SVGElement extends Node {
  readonly ownerSVGElement: SVGElement | null
}
interface HTMLElementTagNameMap {
  readonly body: HTMLElement
}
