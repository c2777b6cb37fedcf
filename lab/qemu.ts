import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { startChild } from './children.ts'
import { run } from './command.ts'
import { LabError } from './errors.ts'

/** The machine that QEMU emulates, and what boots on it. */
export interface Machine {
  readonly image: string
  readonly initrd: string
  readonly cpu: string
  readonly smp: number
  readonly memoryMiB: number
  /** One instruction per tick of virtual time: slow, and the same in every run. */
  readonly icount: boolean
  readonly qemuArgs: readonly string[]
  /** File that receives the kernel's console. */
  readonly consolePath: string
}

/** A running QEMU with the three ports of lab/init/init.sh. */
export interface RunningMachine {
  readonly child: ChildProcess
  readonly stdout: Readable
  readonly stderr: Readable
  readonly reports: Readable
  /** QEMU's own complaints. */
  readonly complaints: Readable
}

/** The QEMU of a Debian root, started from outside through the root's own dynamic loader. */
export class Qemu {
  readonly #program: string
  readonly #command: readonly string[]
  readonly #data: string

  constructor(rootFolder: string) {
    const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64'
    const libraries = join(rootFolder, 'usr/lib', `${machine}-linux-gnu`)
    const loader = machine === 'aarch64' ? 'ld-linux-aarch64.so.1' : 'ld-linux-x86-64.so.2'
    this.#program = join(libraries, loader)
    this.#command = ['--library-path', libraries, join(rootFolder, 'usr/bin/qemu-system-aarch64')]
    this.#data = join(rootFolder, 'usr/share/qemu')
  }

  /** QEMU's version, such as `10.0.13`. */
  async version(): Promise<string> {
    const text = await run(this.#program, [...this.#command, '--version'])
    return /version (\S+)/.exec(text)?.[1] ?? text.trim()
  }

  /** Boots a machine. */
  start(machine: Machine): RunningMachine {
    const child = startChild(this.#program, [...this.#command, '-L', this.#data, ...machineArgs(machine)], {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
    })
    return {
      child,
      complaints: readable(child, 2),
      stdout: readable(child, 3),
      stderr: readable(child, 4),
      reports: readable(child, 5),
    }
  }
}

function readable(child: ChildProcess, index: number): Readable {
  // The type of stdio ends at index 4.
  const stream: unknown = (child.stdio as readonly unknown[])[index]
  if (stream !== null && typeof stream === 'object' && 'read' in stream) return stream as Readable
  throw new LabError('qemu-failed', `Expected a pipe to QEMU's file descriptor ${index} but received none`)
}

function machineArgs(machine: Machine): string[] {
  const accelerator = machine.icount
    ? ['-accel', 'tcg,thread=single', '-icount', 'shift=0,sleep=off', '-smp', '1']
    : ['-accel', 'tcg,thread=multi', '-smp', String(machine.smp)]
  // Each port is a socket that Node already holds the other end of.
  const ports = ['stdout', 'stderr', 'reports'].flatMap((name, index) => [
    '-chardev',
    `socket,id=${name},fd=${index + 3}`,
    '-device',
    `virtserialport,chardev=${name},nr=${index + 1},name=${name}`,
  ])
  return [
    '-M',
    'virt,virtualization=on,gic-version=3',
    '-cpu',
    machine.cpu,
    ...accelerator,
    '-m',
    String(machine.memoryMiB),
    '-display',
    'none',
    '-nodefaults',
    '-no-reboot',
    '-serial',
    `file:${machine.consolePath}`,
    '-device',
    'virtio-serial-pci',
    ...ports,
    '-kernel',
    machine.image,
    '-initrd',
    machine.initrd,
    // An oops of the lab's kernel ends the run instead of leaving a half-dead KVM host behind the tests.
    '-append',
    'console=ttyAMA0 panic=-1 oops=panic',
    ...machine.qemuArgs,
  ]
}
