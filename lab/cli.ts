import { setUpLab } from './lab.ts'
import { runInLab } from './run.ts'
const lab = await setUpLab()
const r = await runInLab(lab, { command: process.argv.slice(2), timeoutMs: 60000, onOutput: (c) => process.stdout.write(c) })
console.error({ ...r, console: r.console.length })
