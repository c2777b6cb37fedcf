const started = performance.now()

/** Prints one progress line with the seconds since this process began. */
export function say(line: string): void {
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  process.stderr.write(`lab ${seconds.padStart(6)}s  ${line}\n`)
}
