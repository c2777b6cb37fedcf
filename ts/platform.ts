/** Node 20.13 has `excludeNetwork`, which its types leave out. */
type ProcessReport = NonNullable<typeof process.report> & { excludeNetwork: boolean }

/** The platforms that a package is made for, as its name ends; package.json has them as `napi.targets`. */
const PLATFORMS = ['linux-arm64-gnu', 'linux-arm64-musl', 'linux-x64-gnu', 'darwin-arm64']

/** The package with the addon for this machine; `null` where none is made. */
export function platformPackage(): string | null {
  const platform = [process.platform, process.arch, ...libc()].join('-')
  return PLATFORMS.includes(platform) ? `seawall-${platform}` : null
}

/** Which C library Node runs on, where a platform has several. */
function libc(): string[] {
  if (process.platform !== 'linux') return []
  const report = process.report as ProcessReport
  const { excludeNetwork } = report
  // Else a report asks for the names of all addresses that the process has connections to, and waits for the answers.
  report.excludeNetwork = true
  try {
    const { header } = report.getReport() as unknown as { header: { glibcVersionRuntime?: string } }
    return [header.glibcVersionRuntime === undefined ? 'musl' : 'gnu']
  } finally {
    report.excludeNetwork = excludeNetwork
  }
}
