/** Something that a guest's kernel complained of. */
export interface Complaint {
  /** Its first line, without the time and the registers. */
  readonly text: string
  /** The process that it ran for, and the place in the kernel, where it says so. */
  process: string | null
  place: string | null
}

/** How a complaint begins. */
const BEGINNINGS = [
  /^(Internal error: [^:]+)/,
  /^(SError Interrupt)/,
  /^(Unable to handle .*)/,
  /^(Kernel panic - not syncing: .*)/,
  /^(Memory failure: .*)/,
  /\[Hardware Error\]: (Hardware error from APEI.*)/,
]

/** The complaints in a kernel's log, in order. */
export function complaints(log: readonly string[]): Complaint[] {
  const found: Complaint[] = []
  for (const line of log) {
    const text = line.replace(/^\[ *[\d.]+\] /, '')
    for (const beginning of BEGINNINGS) {
      const [, what] = beginning.exec(text) ?? []
      if (what !== undefined) found.push({ text: what, process: null, place: null })
    }
    const last = found.at(-1)
    if (last === undefined) continue
    last.process ??= /\bComm: (\S+)/.exec(text)?.[1] ?? null
    last.place ??= /^pc : (\S+)/.exec(text)?.[1] ?? null
  }
  return found
}
