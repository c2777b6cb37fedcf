// The browser in which the project's pages are looked at: Chromium, or a Chrome that is there already.
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { type Browser, chromium } from 'playwright-core'
import { installCommand, installPackages } from './debian-packages.ts'

const PROGRAMS = [
  'chromium',
  'chromium-browser',
  'google-chrome-stable',
  'google-chrome',
  'google-chrome-for-testing',
]
const PACKAGES = ['chromium', 'fonts-dejavu-core']

/** The path of a browser of this machine, or of the one that SEAWALL_BROWSER names; `null` where there is none. */
export function findBrowser(): string | null {
  const named = process.env['SEAWALL_BROWSER']
  if (named !== undefined) return named
  const folders = (process.env['PATH'] ?? '').split(delimiter)
  const paths = PROGRAMS.flatMap((program) => folders.map((folder) => join(folder, program)))
  return paths.find(isProgram) ?? null
}

/** Why there is no browser, and what to do about it. */
export const NO_BROWSER = `no Chromium: ${installCommand(PACKAGES).join(' ')}, or SEAWALL_BROWSER=<path>`

/** Finds a browser; installs Chromium where there is none and that is this process's right, which is as root on Debian. */
export async function provideBrowser(): Promise<string | null> {
  const found = findBrowser()
  // Not on Ubuntu, whose package of that name is none: it wants snapd.
  if (found === null) await installPackages(PACKAGES)
  return found ?? findBrowser()
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
