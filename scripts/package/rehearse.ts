// `npm run rehearse`: packs as `npm run package` does, looks at the packages, publishes them as `npm run release` does to a
// registry of its own on loopback, and installs from there. Takes the options of `npm run package`.
import { main, packageStep } from '../step.ts'
import { packOptions } from './options.ts'
import { packPackages } from './pack.ts'

await main(async () => {
  const missing = await packPackages(packOptions())
  await packageStep('ava/entrypoints/cli.mjs', [
    'build/__test__/packages/manifest.spec.js',
    'build/__test__/packages/rehearsal.spec.js',
  ])
  for (const line of missing) process.stdout.write(`${line}\n`)
})
