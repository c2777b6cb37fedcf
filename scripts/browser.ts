// The browser in which the project's pages are looked at: Chromium, or a Chrome that is there already.
import { accessSync, constants, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { type Browser, chromium } from 'playwright-core'
import { run } from '../lab/command.ts'

const PROGRAMS = [
  'chromium',
  'chromium-browser',
  'google-chrome-stable',
  'google-chrome',
  'google-chrome-for-testing',
]
const PACKAGES = ['chromium', 'fonts-dejavu-core']
const INSTALL = ['install', '--yes', '--no-install-recommends', ...PACKAGES]

/** The path of a browser of this machine, or of the one that SEAWALL_BROWSER names; `null` where there is none. */
export function findBrowser(): string | null {
  const named = process.env['SEAWALL_BROWSER']
  if (named !== undefined) return named
  const folders = (process.env['PATH'] ?? '').split(delimiter)
  const paths = PROGRAMS.flatMap((program) => folders.map((folder) => join(folder, program)))
  return paths.find(isProgram) ?? null
}

/** Why there is no browser, and what to do about it. */
export const NO_BROWSER = `no Chromium: apt-get ${INSTALL.join(' ')}, or SEAWALL_BROWSER=<path>`

/** Finds a browser; installs Chromium where there is none and that is this process's right, which is as root on Debian. */
export async function provideBrowser(): Promise<string | null> {
  const found = findBrowser()
  // Ubuntu's package of that name is none: it wants snapd.
  if (found !== null || process.getuid?.() !== 0 || !isDebian()) return found
  process.stderr.write(`\n$ apt-get ${INSTALL.join(' ')}\n`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  try {
    await run('apt-get', ['update', '--quiet'], { env })
    await run('apt-get', INSTALL, { env })
  } catch (error) {
    // Whoever needs it says that it is not there.
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  }
  return findBrowser()
}

/** Starts a browser. Without its sandbox, which root and most containers cannot have: it sees nothing but the project's own pages. */
export function openBrowser(executablePath: string): Promise<Browser> {
  return chromium.launch({ executablePath, chromiumSandbox: false })
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function isDebian(): boolean {
  try {
    return /^ID=debian$/m.test(readFileSync('/etc/os-release', 'utf8'))
  } catch {
    return false
  }
}
