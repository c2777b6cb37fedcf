// A process of its own: three vCPUs lose pages that nobody has used before, in a process that may lock no memory and has no
// privileges once the devices are open. Prints how it ended as JSON.
import { InStep } from './in-step.ts'
import { Injector } from './injector.ts'

const injector = new Injector()
const inStep = await InStep.create({ vcpus: 3, pages: 48, again: 1, later: 20_000, untouched: true })
for (const page of inStep.pages) injector.arm('fsc=0x10 count=1', page)
process.setgid?.(65534)
process.setuid?.(65534)
await inStep.guest.vm.start()
const { reason, error } = await inStep.guest.vm.wait()
const hits = inStep.guest.vm.poisonedPages().map((page) => page.hits)
await inStep.guest.finish()
process.stdout.write(JSON.stringify({ reason, error: error?.message, hits, reports: inStep.reports() }))
