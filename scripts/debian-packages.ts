import { readFileSync } from 'node:fs'
import { run } from '../lab/command.ts'

/** The command that installs packages of Debian, for people and for {@link installPackages}. */
export function installCommand(packages: readonly string[]): string[] {
  return ['apt-get', 'install', '--yes', '--no-install-recommends', ...packages]
}

/** Installs packages where that is this process's right, which is as root on Debian. Whoever needs them looks for them then. */
export async function installPackages(packages: readonly string[]): Promise<void> {
  if (process.getuid?.() !== 0 || !isDebian()) return
  const [program = '', ...args] = installCommand(packages)
  process.stderr.write(`\n$ ${[program, ...args].join(' ')}\n`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  try {
    await run(program, ['update', '--quiet'], { env })
    await run(program, args, { env })
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  }
}

function isDebian(): boolean {
  try {
    return /^ID=debian$/m.test(readFileSync('/etc/os-release', 'utf8'))
  } catch {
    return false
  }
}
