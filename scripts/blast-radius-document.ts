import { renderRow, renderTables } from './blast-radius-page.ts'
import type { Experiment } from './blast-radius-recording.ts'
import { FORKS, GUEST_MEMORY_MIB, VCPUS } from './blast-radius-rows.ts'

/** Writes docs/blast-radius.md. What is in it of the outcome comes from the recording alone. */
export function renderDocument({ kernel, rows }: Experiment, qemu: string): string {
  const guests = [...new Set(rows.flatMap((row) => ('error' in row ? [] : [row.release])))]
  return `# The blast radius of a lost page

This page is written by \`npm run blast-radius -- --all\`, and all that it says of outcomes was seen in that run.

- Host: Linux ${kernel} on arm64, in [the lab](lab.md), emulated by QEMU ${qemu}
- Guest: Linux ${guests.join(' or ')}, ${GUEST_MEMORY_MIB} MiB, ${VCPUS} vCPUs where a row does not say how many, booted by Seawall;
  its [programs](../lab/linux-guest/README.md) are the lab's own

## The experiment

1. The guest boots. A **bystander** counts. A **victim** has a page, says where it lies in guest memory, and waits.
2. The page goes bad: the injector makes KVM see a synchronous external abort at the next access. With Seawall the rule
   serves one access, because afterwards the page is in quarantine and the bad memory out of reach; with KVM alone the
   memory stays bad for every access. **KVM alone** is the same monitor with \`capabilities: { armSeaToUser: false }\`, **guest not
   told** is \`memoryFailure: { notifyGuest: 'none' }\`, **guest with agent** boots without ACPI and has
   [an agent](linux-guests.md#guests-without-acpi), and **in advance** the owner says that the page is lost
   (\`vm.reportPoison()\`) before anybody uses it.
3. The victim uses the page: **load** is a load in user mode, **fetch** runs code in the page, **write** passes the page to
   \`write(2)\`, so that the guest's kernel reads it. **At once** is several victims that wait for each other, and then load
   from a page each; **in turn** is one after the other. A victim of several lost pages uses one of them.
   **Random pages** are chosen among 32 MiB of the victim's; **anywhere** is in all of the guest's RAM. A guest's kernel can
   retire what a process has or nobody, but not what it has itself, and of so small a guest it has a good part.
4. Who is still there is asked: the victim's parent, the bystander, the guest's first process.
5. The guest works: ${FORKS} programs are started, then on each CPU a process writes to all free memory but 16 MiB.
   Should the process that starts them be lost, another does it all again. The page of a dead process goes back to the
   guest's allocator, which gives it away again unless the guest's kernel was told and has **retired** it
   (\`HardwareCorrupted\` of \`/proc/meminfo\`).
6. The same is asked again.

\`HardwareCorrupted\` counts every page that the guest's kernel knows of, also one that it says \`Ignored\` of because it
has the page itself; what is retired, it says \`Recovered\` of.

A process _hangs_ where it was in an uninterruptible sleep twice, ten seconds apart, and \`-\` is where there was nobody to
ask. To which process the page falls, and what that process holds when it dies, differs from run to run. The guest's
kernel has \`panic_on_oops\` off, as is its default. \`deferMs\` is 20000 and not 200: an emulated guest prints a few hundred
bytes a second, and it prints a record before it retires the page. The default has not been measured on hardware. It is
200 where pages anywhere are lost, because each of the kernel's own would cost the guest all of the time.

## What was seen

${renderTables(rows).replace(/^(When .*)$/gm, '**$1**')}
## Row by row

${rows.map(renderRow).join('\n')}`
}
