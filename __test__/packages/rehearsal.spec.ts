import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { tarball } from '../../scripts/package/pack.ts'
import { PLATFORMS, packageName } from '../../scripts/package/platforms.ts'
import { Registry } from '../../scripts/package/registry.ts'
import { assertPrints, readme } from './readme.ts'
import { type Left, Stranger } from './stranger.ts'

const start = fileURLToPath(new URL('../../../scripts/start.mjs', import.meta.url))

/** `npm run release` of a maintainer, without the platforms that have no addon here. */
async function release(maintainer: Stranger, ...args: readonly string[]): Promise<Left> {
  return await maintainer.node(start, 'scripts/package/release', '--allow-missing', ...args)
}

test('the packages publish to a registry, and who installs seawall from it runs the example of README.md', async (t) => {
  t.timeout(300_000)
  await using registry = await Registry.start()
  using maintainer = new Stranger(registry.url)

  const dry = await release(maintainer, '--dry-run')
  t.is(dry.exitCode, 0, dry.stderr)
  t.is((await maintainer.run('npm', 'view', 'seawall')).exitCode, 1)

  const real = await release(maintainer)
  t.is(real.exitCode, 0, real.stderr)
  const order = [...real.stdout.matchAll(/^\+ (\S+)@/gm)].map(([, name]) => name)
  t.true(order.length >= 2)
  t.is(order.indexOf('seawall'), order.length - 1)

  for (const manager of ['npm', 'pnpm'] as const) {
    using stranger = new Stranger(registry.url)
    await stranger.install(manager, 'seawall')
    stranger.write('example.mjs', readme.code)
    assertPrints(t, await stranger.node('example.mjs'), readme.output)
  }

  const again = await release(maintainer)
  t.is(again.exitCode, 0, again.stderr)
  t.is([...again.stdout.matchAll(/: is there already$/gm)].length, order.length)
})

test('a release without the packages of all platforms is refused', async (t) => {
  await using registry = await Registry.start()
  using maintainer = new Stranger(registry.url)
  const { exitCode, stderr } = await maintainer.node(start, 'scripts/package/release')
  // All of them are there where the addons of other machines were given.
  const isComplete = PLATFORMS.every(({ name }) => existsSync(tarball(packageName(name))))
  t.is(exitCode, isComplete ? 0 : 1, stderr)
  const refusal = /Expected the packages of `npm run package -- --all` but there is no seawall-/
  t.is(refusal.test(stderr), !isComplete)
})
