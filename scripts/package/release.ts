// `npm run release`: publishes the packages that `npm run package -- --all` made, with npm's own settings and credentials.
// `-- --dry-run` does all but the last step, `-- --allow-missing` goes on without some of the platforms.
import { parseArgs } from 'node:util'
import { main } from '../step.ts'
import { publishPackages } from './publish.ts'

await main(async () => {
  const { values } = parseArgs({
    options: {
      'allow-missing': { type: 'boolean', default: false },
      'dry-run': { type: 'boolean', default: false },
    },
  })
  await publishPackages({ dryRun: values['dry-run'], allowMissing: values['allow-missing'] })
})
