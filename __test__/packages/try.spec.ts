// What release.yml runs in containers, run here.
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { TARBALLS } from '../../scripts/package/pack.ts'
import { Registry } from '../../scripts/package/registry.ts'
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

function here(): string {
  return [process.platform, process.arch, ...(process.platform === 'linux' ? ['gnu'] : [])].join('-')
}
