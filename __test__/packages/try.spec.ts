// What release.yml runs in containers, and where it publishes, run here.
import { cpSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { findNode } from '../../lab/node-versions.ts'
import { TARBALLS } from '../../scripts/package/pack.ts'
import { Registry } from '../../scripts/package/registry.ts'
import { projectRoot } from '../../scripts/step.ts'
import { Stranger } from './stranger.ts'

const step = (name: string) => fileURLToPath(new URL(`../../../.ci/${name}`, import.meta.url))
test('.ci/try.mjs installs the packages where nothing but Node is, and runs the example that they bring', async (t) => {
  t.timeout(300_000)
  await using registry = await Registry.start()
  using stranger = new Stranger(registry.url)
  const { exitCode, stdout, stderr } = await stranger.node(step('try.mjs'), TARBALLS)
  t.is(exitCode, 0, stderr)
  t.is(
    stdout.split('\n').at(-2),
    `Node ${process.version}, ${here()}: the example prints what the README says`,
  )

  const without = await stranger.node(step('try.mjs'), stranger.folder)
  t.is(without.exitCode, 1)
  t.regex(without.stderr, /Expected one .* but found none/)
})

test('.ci/run publish publishes where no package of the project’s tools is installed', async (t) => {
  t.timeout(300_000)
  await using registry = await Registry.start()
  using stranger = new Stranger(registry.url)
  for (const name of ['.ci', 'lab', 'package.json', 'scripts', 'tarballs'])
    cpSync(join(projectRoot, name), join(stranger.folder, 'clone', name), { recursive: true })
  const path = [dirname(await findNode(24)), process.env['PATH']].join(delimiter)
  const publish = ['bash', join('clone', '.ci', 'run'), 'publish', '--allow-missing']
  const { exitCode, stdout, stderr } = await stranger.run('env', `PATH=${path}`, ...publish)
  t.is(exitCode, 0, stderr)
  t.regex(stdout, /^\+ seawall@/m)
})

function here(): string {
  return [process.platform, process.arch, ...(process.platform === 'linux' ? ['gnu'] : [])].join('-')
}
