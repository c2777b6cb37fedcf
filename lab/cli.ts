import { parseArgs } from 'node:util'
import { Cache } from './cache.ts'
import { LabError } from './errors.ts'
import { cargoInToolRoot, setUpLab } from './lab.ts'
import { say } from './progress.ts'
import { runInLab } from './run.ts'

const HELP = `An arm64 KVM host with injected memory errors, emulated by QEMU on any Debian or Ubuntu machine.

npm run lab -- setup [--kernel <version>]
npm run lab -- run [options] -- <command> [arguments]
npm run lab -- cargo -- <arguments>     cargo in the lab's tool root, for ${'`--target aarch64-unknown-linux-gnu`'}
npm run lab -- clean                    removes the cache

Options of run; the exit code is the command's, or 125 when the lab itself fails
  --cpu <model>       QEMU's CPU model (neoverse-v1,pauth=off,sve=off)
  --kernel <version>  Debian's cloud kernel of that version, such as 6.12 (the newest, at least 6.19)
  --guest-kernel <version>
                      another kernel for the Linux guest: build/linux-guest/Image-<version> in the lab
  --qemu <which>      release, or backports for newer CPU models (release)
  --smp <n>           CPUs (2)
  --memory <MiB>      memory (3072)
  --timeout <s>       limit for boot and command (600)
  --icount            count instructions: one CPU, slow, the same in every run
  --no-addon          leave the addon out
  --console           print the kernel's console afterwards

SEAWALL_CACHE is the cache folder, SEAWALL_DEBIAN_MIRROR the Debian archive.
`

/** Exit code for a failure of the lab itself, so that it cannot be taken for the command's. */
const LAB_FAILED = 125

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    allowNegative: true,
    options: {
      addon: { type: 'boolean', default: true },
      console: { type: 'boolean', default: false },
      cpu: { type: 'string' },
      'guest-kernel': { type: 'string' },
      help: { type: 'boolean', default: false },
      icount: { type: 'boolean', default: false },
      kernel: { type: 'string' },
      qemu: { type: 'string', default: 'release' },
      memory: { type: 'string' },
      smp: { type: 'string' },
      timeout: { type: 'string', default: '600' },
    },
  })
  const [task, ...command] = positionals
  if (values.help || task === undefined) {
    process.stdout.write(HELP)
    return values.help ? 0 : LAB_FAILED
  }
  const setUp = { addon: values.addon, ...(values.kernel === undefined ? {} : { kernel: values.kernel }) }
  switch (task) {
    case 'setup':
      await setUpLab(setUp)
      return 0
    case 'clean':
      new Cache().clean()
      return 0
    case 'cargo':
      await cargoInToolRoot(command)
      return 0
    case 'run': {
      const { exitCode, console, seconds } = await runInLab(await setUpLab(setUp), {
        command,
        icount: values.icount,
        timeoutMs: Number(values.timeout) * 1000,
        qemu: whichQemu(values.qemu),
        ...(values.cpu === undefined ? {} : { cpu: values.cpu }),
        ...(values['guest-kernel'] === undefined ? {} : { guestKernel: values['guest-kernel'] }),
        ...(values.smp === undefined ? {} : { smp: Number(values.smp) }),
        ...(values.memory === undefined ? {} : { memoryMiB: Number(values.memory) }),
        onOutput: (chunk, stream) => process[stream].write(chunk),
      })
      if (values.console) process.stderr.write(console)
      say(`exit code ${exitCode} after ${seconds.toFixed(1)} s`)
      return exitCode
    }
    default:
      throw new LabError(
        'invalid-option',
        `Expected setup, run, cargo or clean for the lab but received ${task}`,
      )
  }
}

function whichQemu(text: string): 'release' | 'backports' {
  if (text === 'release' || text === 'backports') return text
  throw new LabError('invalid-option', `Expected release or backports for --qemu but received ${text}`)
}

try {
  process.exitCode = await main()
} catch (error) {
  process.stderr.write(`${error instanceof LabError ? `${error.code}: ${error.message}` : String(error)}\n`)
  process.exitCode = LAB_FAILED
}
