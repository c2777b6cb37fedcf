// The command line tool over the simulator: `seawall run` plays the script in the file SEAWALL_SCRIPT, JSON with bigints as "0x…".
// SIGUSR2 does what SEAWALL_DEFECT says: it throws, or calls process.exit().

import { readFileSync } from 'node:fs'
import { simulated } from 'seawall'
import { main } from '#cli/main'

const script = JSON.parse(readFileSync(process.env['SEAWALL_SCRIPT'] ?? '', 'utf8'), (_, value: unknown) =>
  typeof value === 'string' && /^0x[0-9a-f]+$/.test(value) ? BigInt(value) : value,
)
process.on('SIGUSR2', () => {
  if (process.env['SEAWALL_DEFECT'] === 'throw') throw new Error('thrown on purpose')
  process.exit(9)
})
process.exitCode = await main(process.argv.slice(2), { backend: simulated({ script }) })
