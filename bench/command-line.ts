/** The options of `npm run bench` and of `npm run soak` alike. */
export const OPTIONS = {
  help: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  scale: { type: 'string', default: '1' },
} as const

/** How much of each part is run. */
export function readScale(text: string): number {
  const scale = Number(text)
  if (!(scale > 0 && Number.isFinite(scale)))
    throw new Error(`Expected a positive number for --scale but received ${text}`)
  return scale
}

/** The parts that were named, or those that are run otherwise. */
export function chooseParts(
  named: readonly string[],
  known: readonly string[],
  byDefault: readonly string[],
): readonly string[] {
  const unknown = named.find((name) => !known.includes(name))
  if (unknown !== undefined)
    throw new Error(`Expected ${known.join(', ')} for a part but received ${unknown}`)
  return named.length > 0 ? named : byDefault
}
