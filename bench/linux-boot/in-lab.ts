// Boots Linux guests and prints, as JSON, when each phase of each boot was over: in nanoseconds, with the exits so far.
import { Vm } from 'seawall'
import { linuxOf } from '../../scripts/linux-guest.ts'

/** The end of a phase. */
export interface Mark {
  readonly name: 'created' | 'kernel' | 'userspace'
  readonly ns: number
  readonly exits: number
}

/** What the guest's console says when a phase is over. */
const SAYS = { kernel: 'Run /init as init process', userspace: 'seawall: ready' } as const

async function boot(): Promise<Mark[]> {
  const began = process.hrtime.bigint()
  const boot = { ...linuxOf(null), cmdline: 'console=ttyS0 panic=-1' }
  await using vm = await Vm.create({ memory: 256 * 2 ** 20, boot })
  const marks: Mark[] = []
  const mark = (name: Mark['name']) => {
    const exits = Object.values(vm.stats().exits).reduce((sum, count) => sum + count, 0n)
    marks.push({ name, ns: Number(process.hrtime.bigint() - began), exits: Number(exits) })
  }
  mark('created')
  let text = ''
  const ready = new Promise<void>((resolve, reject) => {
    vm.console.setEncoding('latin1').on('data', (chunk: string) => {
      text += chunk
      if (marks.length === 1 && text.includes(SAYS.kernel)) mark('kernel')
      if (marks.length === 2 && text.includes(SAYS.userspace)) {
        mark('userspace')
        resolve()
      }
    })
    vm.on('exit', () => reject(new Error(`Expected a guest that boots but received:\n${text}`)))
  })
  await vm.start()
  await ready
  return marks
}

const [count = ''] = process.argv.slice(2)
const boots: Mark[][] = []
for (let number = 0; number < Number(count); number += 1) boots.push(await boot())
process.stdout.write(`${JSON.stringify(boots)}\n`)
