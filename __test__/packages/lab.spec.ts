import { readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import test from 'ava'
import { filesBelow } from '../../lab/fingerprint.ts'
import { type LabFile, runInLab, setUpLab } from '../../lab/lab.ts'
import { findNode, NODE_LINES } from '../../lab/node-versions.ts'
import { tarball } from '../../scripts/package/pack.ts'
import { Registry } from '../../scripts/package/registry.ts'
import { readme } from './readme.ts'
import { Stranger } from './stranger.ts'

/** Says which addon the process has, makes its guest's page go bad, as the simulator's script has it, and shows its console. */
const BEFORE_START = `
const { openSync, readFileSync, writeSync } = await import('node:fs')
console.log(process.version)
console.log(/\\S+\\.node$/m.exec(readFileSync('/proc/self/maps', 'utf8'))?.[0])
writeSync(openSync('/dev/sea-inject', 'r+'), \`arm id=1 tgid=\${process.pid} start=0x80100000 end=0x80101000 fsc=0x10 set=3\\n\`)
vm.console.pipe(process.stderr)
await vm.start()`

/** The oldest Node that Seawall is for, and the newest of each line. */
const NODES = ['20.19.0', ...NODE_LINES].map(String)

/** What the Nodes print, one after the other, is told apart by the line with the version of each. */
const EACH_NODE = 'for node; do $node example.mjs || exit; done'

test('on KVM of an arm64 host the example of README.md runs from the tarballs, on the oldest Node and on the newest of each line', async (t) => {
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
  const nodes: LabFile[] = []
  for (const line of NODES)
    nodes.push({ path: `/node-${line}`, content: { from: await findNode(line, 'arm64') } })
  const guest = { path: 'guest.bin', content: readFileSync(join(lab.guests, 'write-el0.bin')) }
  const { exitCode, stdout, stderr } = await runInLab(
    // What belongs to the project is not there: the folder is the stranger's.
    { ...lab, projectRoot: stranger.folder, addon: null },
    {
      command: ['sh', '-c', EACH_NODE, 'sh', ...nodes.map(({ path }) => path)],
      files: [...files, ...nodes, guest],
      timeoutMs: 400_000,
    },
  )
  t.is(exitCode, 0, stderr)
  const runs = stdout.replaceAll('\r', '').split(/^(?=v\d)/m)
  t.is(runs.length, NODES.length)
  for (const [index, line] of NODES.entries()) {
    const [version = '', ...printed] = (runs[index] ?? '').trimEnd().split('\n')
    t.true(`${version}.`.startsWith(`v${line}.`), version)
    t.deepEqual(printed, [
      '/seawall/node_modules/seawall-linux-arm64-gnu/seawall.linux-arm64-gnu.node',
      // Its root may take the page out of the host's use.
      ...readme.output
        .replace('simulated: ', 'kvm: ')
        .replace('unretiredHostPages: 1', 'unretiredHostPages: 0')
        .trimEnd()
        .split('\n'),
    ])
  }
  const exceptions = stderr.match(/^exception vector=0x400 esr=0x0000000092001850 far=0x0000000080100010 /gm)
  t.is(exceptions?.length, NODES.length, stderr)
})
