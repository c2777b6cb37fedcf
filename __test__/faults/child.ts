// A process whose resources are about to end. The first argument says which.
import { once } from 'node:events'
import { closeSync, openSync, readdirSync } from 'node:fs'
import { SeawallError, simulated, Vm, type VmOptions } from 'seawall'

/** Users from this number on have no name, and no processes. */
const FIRST_FREE_USER = 1_000_000
const MIB = 2 ** 20

/** A guest that runs for ever, on the backend that the second argument names. */
const GUEST =
  process.argv[3] === 'kvm'
    ? { boot: { type: 'flat', image: 'build/guests/spin.bin' } as const }
    : {
        boot: { type: 'flat', image: new Uint8Array(4) } as const,
        backend: simulated({ script: [[{ step: 'spin' }]] }),
      }

function create(options: Partial<VmOptions> = {}): Promise<Vm> {
  return Vm.create({ memory: 4 * MIB, ...GUEST, ...options })
}

/** A VM that runs, and must not notice anything. */
async function bystander(): Promise<Vm> {
  const vm = await create()
  await vm.start()
  await vm.reportPoison(0x8010_0000n, 4096)
  return vm
}

async function isUnharmed(vm: Vm): Promise<void> {
  await vm.pause()
  await vm.vcpus[0]?.setRegister('x1', 0x1234n)
  if ((await vm.vcpus[0]?.getRegister('x1')) !== 0x1234n) throw new Error('it lost a register')
  await vm.resume()
  await vm.reportPoison(0x8020_0000n, 4096)
  if (vm.poisonedPages().filter(({ state }) => state === 'quarantined').length !== 2)
    throw new Error('it lost a page')
  if (vm.state !== 'running') throw new Error(`it is ${vm.state}`)
  await vm.close()
}

/** The code and the errno of the error that a promise rejects with. */
async function failure(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
  } catch (error) {
    if (error instanceof SeawallError)
      return [error.code, error.syscall, error.errno].filter(Boolean).join(' ')
    throw error
  }
  return 'none'
}

/** Opens files until no more can be opened, and says how to give them back. */
function exhaustFiles(spare: number): () => void {
  const files: number[] = []
  try {
    for (;;) files.push(openSync('/dev/null', 'r'))
  } catch {
    // EMFILE.
  }
  for (const file of files.splice(0, spare)) closeSync(file)
  return () => {
    for (const file of files.splice(0)) closeSync(file)
  }
}

const openFiles = () => readdirSync('/proc/self/fd').length

/** Waits until the parent has taken resources away. */
async function limited(): Promise<void> {
  console.log('ready', readdirSync('/proc/self/task').length)
  await once(process.stdin, 'data')
}

/** Creates VMs until one is refused, and says why. The others, and one that ran before, are unharmed. */
async function createAll(options: Partial<VmOptions>, alone = false): Promise<void> {
  const runs = await bystander()
  await limited()
  // Of root the kernel does not count its processes.
  if (alone && process.getuid?.() === 0) becomeNobody()
  const vms: Vm[] = []
  let refused = 'none'
  while (refused === 'none' && vms.length < 512) {
    refused = await failure(create(options).then((vm) => vms.push(vm)))
  }
  console.log('create', refused)
  // There is no memory for a copy of this size.
  const read = () => vms[0]?.memory.read(0x8000_0000n, options.memory ?? 0)
  console.log('read', vms.length === 0 ? 'none' : await failure(Promise.resolve().then(read)))
  await Promise.all(vms.map((vm) => vm.close()))
  await isUnharmed(runs)
  console.log('create', await failure(create().then(isRunnable)))
}

/** Becomes a user who has no other processes. */
function becomeNobody(): void {
  process.setgroups?.([])
  process.setgid?.(FIRST_FREE_USER + process.pid)
  process.setuid?.(FIRST_FREE_USER + process.pid)
}

async function isRunnable(vm: Vm): Promise<void> {
  await vm.start()
  await vm.close()
}

const PARTS: Readonly<Record<string, () => Promise<void>>> = {
  /** Every number of files that are left, from none to enough for a VM. */
  files: async () => {
    await create().then((vm) => vm.close())
    await limited()
    const before = openFiles()
    const runs = await bystander()
    let outcome = ''
    for (let spare = 0; outcome !== 'none'; spare += 1) {
      const restore = exhaustFiles(spare)
      const boot = { type: 'linux', kernel: '/etc/passwd' } as const
      const image = await failure(create({ boot }))
      outcome = await failure(create().then((vm) => vm.close()))
      restore()
      console.log('image', image)
      console.log('create', outcome)
    }
    await isUnharmed(runs)
    console.log('leaked', openFiles() - before)
  },
  memory: () => createAll({ memory: 2 ** 26 }),
  threads: () => createAll({ vcpus: 4 }, true),
}

await PARTS[process.argv[2] ?? '']?.()
console.log('done')
process.stdin.destroy()
