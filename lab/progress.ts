const started = performance.now()

/** Prints one progress line with the seconds since this process began. */
export function say(line: string): void {
  process.stderr.write(`lab ${secondsSince(started).toFixed(1).padStart(6)}s  ${line}\n`)
}

/** Seconds since a reading of `performance.now()`. */
export function secondsSince(began: number): number {
  return (performance.now() - began) / 1000
}
