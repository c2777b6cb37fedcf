// `npm run build`: the addon for this machine, optimised, and dist/ (which scripts/start.mjs has compiled by now).
import { buildAddon } from './addon.ts'
import { main } from './step.ts'

await main(() => buildAddon('release'))
