/** What test runners counted, over all of them. */
export class Tally {
  passed = 0
  failed = 0
  /** Why tests were skipped, a reason each. */
  readonly skipped: string[] = []

  /** Reads one line of `cargo test`. */
  cargo(line: string): void {
    const result = /^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/.exec(line)
    if (result !== null) {
      this.passed += Number(result[1])
      this.failed += Number(result[2])
      for (let index = 0; index < Number(result[3]); index += 1)
        this.skipped.push('a Rust test that is ignored')
    }
    const skipped = /^SKIPPED (.+)$/.exec(line)
    if (skipped?.[1] !== undefined) this.skipped.push(skipped[1])
  }

  /** Reads one line of AVA's TAP output. */
  tap(line: string): void {
    const result = /^(not )?ok \d+ - (.*?)( # SKIP.*| # TODO.*)?$/.exec(line)
    if (result === null) return
    if (result[3] !== undefined) this.skipped.push(result[2] ?? '')
    else if (result[1] === undefined) this.passed += 1
    else this.failed += 1
  }

  /** Counts a runner that ended badly without a failed test of its own. */
  runner(name: string, exitCode: number, failedBefore: number): void {
    if (exitCode === 0 || this.failed > failedBefore) return
    process.stderr.write(`${name} ended with exit code ${exitCode} and no failed test\n`)
    this.failed += 1
  }

  /** The one line that sums it up. */
  summary(): string {
    const skipped = this.skipped.length === 0 ? '' : `, ${this.skipped.length} skipped`
    return `${this.passed} passed, ${this.failed} failed${skipped}`
  }
}
