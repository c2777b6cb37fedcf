// What release.yml runs in containers and in the end, run here: .ci/try.mjs and .ci/publish.mjs.
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { TARBALLS } from '../../scripts/package/pack.ts'
import { Registry } from '../../scripts/package/registry.ts'
import { Stranger } from './stranger.ts'

const step = (name: string) => fileURLToPath(new URL(`../../../.ci/${name}`, import.meta.url))
/** Since then it can publish without a token; npm run on an older one says so. */
const LEAST_NPM = [11, 5, 1]

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

test('.ci/publish.mjs publishes the platforms first, and leaves alone what is published', async (t) => {
  t.timeout(300_000)
  await using registry = await Registry.start()
  using maintainer = new Stranger(registry.url)
  const publish = () => maintainer.node(step('publish.mjs'), TARBALLS, `--registry=${registry.url}`)
  const npm = (await maintainer.run('npm', '--version')).stdout.trim().split('.').map(Number)
  if (isOlder(npm, LEAST_NPM)) {
    const refused = await publish()
    t.regex(refused.stderr, /Expected npm >= 11\.5\.1/)
    return
  }
  const first = await publish()
  t.is(first.exitCode, 0, first.stderr)
  const published = [...first.stdout.matchAll(/^\+ (seawall.*)@/gm)].map(([, name = '']) => name)
  t.is(published.length, readdirSync(TARBALLS).length)
  t.is(published.at(-1), 'seawall')

  const second = await publish()
  t.is(second.exitCode, 0, second.stderr)
  const left = [...second.stdout.matchAll(/^(seawall.*)@.* is published already$/gm)].map(
    ([, name = '']) => name,
  )
  t.deepEqual(left.sort(), published.sort())
})

function here(): string {
  return [process.platform, process.arch, ...(process.platform === 'linux' ? ['gnu'] : [])].join('-')
}

function isOlder(version: readonly number[], least: readonly number[]): boolean {
  for (const [index, part] of least.entries()) {
    const own = version[index] ?? 0
    if (own !== part) return own < part
  }
  return false
}
