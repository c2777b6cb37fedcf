import { readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import test from 'ava'
import { filesBelow } from '../../lab/fingerprint.ts'
import { runInLab, setUpLab } from '../../lab/lab.ts'
import { tarball } from '../../scripts/package/pack.ts'
import { Registry } from '../../scripts/package/registry.ts'
import { readme } from './readme.ts'
import { Stranger } from './stranger.ts'

/** Says which addon the process has, makes its guest's page go bad, as the simulator's script has it, and shows its console. */
const BEFORE_START = `
const { openSync, readFileSync, writeSync } = await import('node:fs')
console.log(/\\S+\\.node$/m.exec(readFileSync('/proc/self/maps', 'utf8'))?.[0])
writeSync(openSync('/dev/sea-inject', 'r+'), \`arm id=1 tgid=\${process.pid} start=0x80100000 end=0x80101000 fsc=0x10 set=3\\n\`)
vm.console.pipe(process.stderr)
await vm.start()`

test('on KVM of an arm64 host the example of README.md runs from the tarballs', async (t) => {
  t.timeout(600_000)
  await using registry = await Registry.start()
  using stranger = new Stranger(registry.url)
  // This machine may be another than the one that it is installed for.
  await stranger.install('npm', tarball('seawall'), tarball('seawall-linux-arm64-gnu'), '--force')

  const onKvm = readme.code
    .replace(/^const backend = .*?^\}\)$/ms, '')
    .replace(', backend })', ' })')
    .replace('new Uint8Array(4)', "'guest.bin'")
    .replace('\nawait vm.start()', BEFORE_START)
  stranger.write('example.mjs', onKvm)

  const lab = await setUpLab({ addon: false })
  const files = filesBelow(stranger.folder, (name) => name.startsWith('.')).map((path) => ({
    path: relative(stranger.folder, path),
    content: { from: path },
  }))
  const guest = { path: 'guest.bin', content: readFileSync(join(lab.guests, 'write-el0.bin')) }
  const { exitCode, stdout, stderr } = await runInLab(
    // What belongs to the project is not there: the folder is the stranger's.
    { ...lab, projectRoot: stranger.folder, addon: null },
    { command: ['node', 'example.mjs'], files: [...files, guest], timeoutMs: 300_000 },
  )
  t.is(exitCode, 0, stderr)
  t.deepEqual(stdout.trimEnd().split(/\r?\n/), [
    '/seawall/node_modules/seawall-linux-arm64-gnu/seawall.linux-arm64-gnu.node',
    // Its root may take the page out of the host's use.
    ...readme.output
      .replace('simulated: ', 'kvm: ')
      .replace('unretiredHostPages: 1', 'unretiredHostPages: 0')
      .trimEnd()
      .split('\n'),
  ])
  t.regex(stderr, /^exception vector=0x400 esr=0x0000000092001850 far=0x0000000080100010 /m)
})
