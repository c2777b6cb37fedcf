// `npm run package`: the packages as they are published, in tarballs/. `-- --addons <folder>` takes addons that were built
// elsewhere, `-- --all` insists on all platforms.
import { main } from '../step.ts'
import { packOptions } from './options.ts'
import { packPackages, TARBALLS } from './pack.ts'

await main(async () => {
  for (const line of await packPackages(packOptions())) process.stdout.write(`${line}\n`)
  process.stdout.write(`packed into ${TARBALLS}\n`)
})
