import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** What Chromium and its kin are called. */
const NAMES = ['chromium', 'google-chrome', 'google-chrome-stable', 'chromium-browser', 'chrome']

/** A browser to look at pages with, or why there is none. */
export type Browser = { readonly path: string; readonly version: string } | { readonly missing: string }

/**
 * Finds Chromium: the program that `SEAWALL_CHROMIUM` names, else one of the path. Where there is none and this is root on
 * Debian, Debian's package is installed.
 */
export async function findChromium(): Promise<Browser> {
  const own = process.env['SEAWALL_CHROMIUM']
  if (own) return (await look(own)) ?? { missing: `SEAWALL_CHROMIUM is ${own}, which does not run` }
  const found = await lookForAny()
  if (found !== undefined) return found
  const install = 'apt-get install --yes --no-install-recommends chromium'
  if (!isDebian()) return { missing: `there is no Chromium (${NAMES.join(', ')}), and this is not Debian` }
  if (process.getuid?.() !== 0) return { missing: `there is no Chromium. Install it: sudo ${install}` }
  process.stderr.write('installing chromium\n')
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  try {
    await run('apt-get', ['update', '--quiet'], { env })
    await run('apt-get', install.split(' ').slice(1), { env, maxBuffer: 2 ** 26 })
  } catch (error) {
    return { missing: `Chromium could not be installed: ${error instanceof Error ? error.message : error}` }
  }
  return (await lookForAny()) ?? { missing: 'Chromium was installed and does not run' }
}

async function lookForAny(): Promise<Browser | undefined> {
  for (const name of NAMES) {
    const found = await look(name)
    if (found !== undefined) return found
  }
  return undefined
}

/** Whether a program is a browser that runs: Ubuntu's package is a script that says how to get one. */
async function look(name: string): Promise<Browser | undefined> {
  try {
    const { stdout: path } = await run('sh', ['-c', 'command -v "$0"', name])
    const { stdout } = await run(path.trim(), ['--version'])
    const [version] = /\d+(\.\d+){3}/.exec(stdout) ?? []
    return version === undefined ? undefined : { path: path.trim(), version }
  } catch {
    return undefined
  }
}

function isDebian(): boolean {
  try {
    return /^ID=debian$/m.test(readFileSync('/etc/os-release', 'utf8'))
  } catch {
    return false
  }
}
