import { accessSync, constants, existsSync, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { attempt, run } from './command.ts'
import { LabError } from './errors.ts'
import { say } from './progress.ts'

const WANTED: readonly { readonly program: string; readonly debianPackage: string }[] = [
  { program: 'mmdebstrap', debianPackage: 'mmdebstrap' },
  { program: 'gpgv', debianPackage: 'gpgv' },
  { program: 'flock', debianPackage: 'util-linux' },
  { program: 'tar', debianPackage: 'tar' },
]
const KEYRING = '/usr/share/keyrings/debian-archive-keyring'

/** Makes sure the machine can build the tool root; installs what is missing where that is this process's right. */
export async function requireHostTools(): Promise<void> {
  const root = process.getuid?.() === 0
  const missing = WANTED.filter(({ program }) => !isProgram(program)).map(
    ({ debianPackage }) => debianPackage,
  )
  if (!['.gpg', '.pgp'].some((suffix) => existsSync(KEYRING + suffix))) missing.push('debian-archive-keyring')
  if (!root && !(isProgram('newuidmap') && isProgram('unshare'))) missing.push('uidmap')
  if (missing.length === 0) {
    if (!root) await requireUserNamespaces()
    return
  }

  const install = `apt-get install --yes --no-install-recommends ${missing.join(' ')}`
  if (!isDebianFamily()) {
    throw new LabError(
      'missing-tool',
      `Expected Debian or Ubuntu for the lab, with ${missing.join(', ')}, but received another system. Run it in a Debian container.`,
    )
  }
  if (!root) {
    throw new LabError(
      'missing-tool',
      `Expected the packages ${missing.join(', ')} for the lab but they are absent. Install them: sudo ${install}`,
    )
  }
  say(`installing ${missing.join(', ')}`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  await run('apt-get', ['update', '--quiet'], { env })
  await run('apt-get', install.split(' ').slice(1), { env })
}

async function requireUserNamespaces(): Promise<void> {
  const { status, stderr } = await attempt('unshare', ['--user', '--map-root-user', 'true'])
  if (status === 0) return
  throw new LabError(
    'missing-tool',
    `Expected user namespaces for the lab but received: ${stderr.trim()}. Allow them (on Ubuntu: ` +
      'sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0) or set the lab up as root.',
  )
}

function isProgram(name: string): boolean {
  const { PATH = '' } = process.env
  return `${PATH}${delimiter}/usr/sbin${delimiter}/sbin`.split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

function isDebianFamily(): boolean {
  try {
    return /^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(readFileSync('/etc/os-release', 'utf8'))
  } catch {
    return false
  }
}
