// The command line tool over the simulator: `seawall run` plays the script in the file SEAWALL_SCRIPT, JSON with bigints as "0x…".
// With SEAWALL_DEFECT, SIGUSR2 does what it says: it throws, or calls process.exit().

import { readFileSync } from 'node:fs'
import { simulated } from 'seawall'
import { main } from '#cli/main'

const script = JSON.parse(readFileSync(process.env['SEAWALL_SCRIPT'] ?? '', 'utf8'), (_, value: unknown) =>
  typeof value === 'string' && /^0x[0-9a-f]+$/.test(value) ? BigInt(value) : value,
)
const defect = process.env['SEAWALL_DEFECT']
if (defect !== undefined) {
  process.on('SIGUSR2', () => {
    if (defect === 'throw') throw new Error('thrown on purpose')
    process.exit(9)
  })
}
process.exitCode = await main(process.argv.slice(2), { backend: simulated({ script }) })
