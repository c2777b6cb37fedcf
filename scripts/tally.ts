/** What test runners counted, over all of them. */
export class Tally {
  passed = 0
  failed = 0
  /** The failed tests, each with what its runner says of it, and what else went wrong: shown once more at the end. */
  readonly failures: string[] = []
  /** Why tests were skipped, a reason each. */
  readonly skipped: string[] = []
  /** Whether the last lines were what TAP says of the last failed test. */
  #isDiagnostic = false

  /** Reads one line of `cargo test`. */
  cargo(line: string): void {
    const result = /^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/.exec(line)
    if (result !== null) {
      this.passed += Number(result[1])
      this.failed += Number(result[2])
      for (let index = 0; index < Number(result[3]); index += 1)
        this.skipped.push('a Rust test that is ignored')
    }
    const failed = /^test (\S+) \.\.\. FAILED$/.exec(line)
    if (failed?.[1] !== undefined) this.failures.push(failed[1])
    const skipped = /^SKIPPED (.+)$/.exec(line)
    if (skipped?.[1] !== undefined) this.skipped.push(skipped[1])
  }

  /** Reads one line of AVA's TAP output. */
  tap(line: string): void {
    const result = /^(not )?ok \d+ - (.*?)( # SKIP.*| # TODO.*)?$/.exec(line)
    if (result === null) {
      if (this.#isDiagnostic) this.#diagnose(line)
      return
    }
    this.#isDiagnostic = false
    if (result[3] !== undefined) this.skipped.push(result[2] ?? '')
    else if (result[1] === undefined) this.passed += 1
    else {
      this.failed += 1
      this.failures.push(result[2] ?? '')
      this.#isDiagnostic = true
    }
  }

  /** Keeps what TAP says of the last failed test: the indented lines between `---` and `...`. */
  #diagnose(line: string): void {
    const text = line.trimEnd()
    this.#isDiagnostic = text.startsWith('  ') && text !== '  ...'
    if (this.#isDiagnostic && text !== '  ---') this.failures[this.failures.length - 1] += `\n${text}`
  }

  /** Counts a runner that ended badly without a failed test of its own. */
  runner(name: string, exitCode: number, failedBefore: number): void {
    if (exitCode === 0 || this.failed > failedBefore) return
    this.fail(`${name} ended with exit code ${exitCode} and no failed test`)
  }

  /** Counts what could not be run at all. */
  fail(what: string): void {
    process.stderr.write(`\n${what}\n`)
    this.failed += 1
    this.failures.push(what)
  }

  /** The one line that sums it up. */
  summary(): string {
    const skipped = this.skipped.length === 0 ? '' : `, ${this.skipped.length} skipped`
    return `${this.passed} passed, ${this.failed} failed${skipped}`
  }
}
