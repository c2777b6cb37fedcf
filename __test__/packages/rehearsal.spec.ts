import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { TARBALLS, tarball } from '../../scripts/package/pack.ts'
import { Registry } from '../../scripts/package/registry.ts'
import { assertPrints, readme } from './readme.ts'
import { Stranger } from './stranger.ts'

test('the packages publish to a registry, and who installs seawall from it runs the example of README.md', async (t) => {
  t.timeout(300_000)
  await using registry = await Registry.start()
  using maintainer = new Stranger(registry.url)
  const root = tarball('seawall')
  const platforms = readdirSync(TARBALLS)
    .map((name) => join(TARBALLS, name))
    .filter((path) => path !== root)
  t.true(platforms.length > 0)
  for (const path of [...platforms, root]) {
    const dry = await maintainer.run('npm', 'publish', path, '--dry-run')
    t.is(dry.exitCode, 0, dry.stderr)
    const published = await maintainer.run('npm', 'publish', path)
    t.is(published.exitCode, 0, published.stderr)
  }

  for (const manager of ['npm', 'pnpm'] as const) {
    using stranger = new Stranger(registry.url)
    await stranger.install(manager, 'seawall')
    stranger.write('example.mjs', readme.code)
    assertPrints(t, await stranger.node('example.mjs'), readme.output)
  }

  const again = await maintainer.run('npm', 'publish', root)
  t.not(again.exitCode, 0)
  t.regex(again.stderr, /E409|cannot publish over|already present/i)
})
