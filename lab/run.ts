import { copyFileSync, createWriteStream, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { CpioWriter } from './cpio.ts'
import { LabError } from './errors.ts'
import type { Lab } from './lab.ts'
void [copyFileSync, createWriteStream, mkdirSync]

export interface LabCommand {
  readonly command: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly cpu?: string
  readonly smp?: number
  readonly memoryMiB?: number
  readonly icount?: boolean
  readonly timeoutMs: number
  readonly onOutput?: (chunk: Buffer, stream: 'stdout' | 'stderr') => void
  readonly qemuArgs?: readonly string[]
}
export interface LabResult {
  readonly exitCode: number
  readonly output: string
  readonly console: string
  readonly kernelVersion: string
  readonly qemuVersion: string
  readonly seconds: number
}

export async function runInLab(lab: Lab, options: LabCommand): Promise<LabResult> {
  const folder = mkdtempSync(join(lab.cache.runs, 'run-'))
  const own = join(folder, 'own.cpio')
  const cpio = new CpioWriter(own)
  cpio.file('lab/command', Buffer.from(`mkdir -p /seawall; cd /seawall\n${options.command.map(quote).join(' ')}\n`))
  cpio.close()
  const initrd = join(folder, 'initrd')
  const { writeFileSync, appendFileSync } = await import('node:fs')
  writeFileSync(initrd, readFileSync(lab.base))
  appendFileSync(initrd, readFileSync(own))
  const began = performance.now()
  const m = lab.qemu.start({
    image: lab.kernel.image,
    initrd,
    cpu: options.cpu ?? 'neoverse-n1',
    smp: options.smp ?? 2,
    memoryMiB: options.memoryMiB ?? 3072,
    icount: options.icount ?? false,
    qemuArgs: options.qemuArgs ?? [],
    consolePath: join(folder, 'console.log'),
  })
  let output = ''
  let exitCode = -1
  let kernelVersion = ''
  m.stdout.on('data', (c: Buffer) => { output += c; options.onOutput?.(c, 'stdout') })
  m.stderr.on('data', (c: Buffer) => { output += c; options.onOutput?.(c, 'stderr') })
  m.complaints.on('data', (c: Buffer) => process.stderr.write(c))
  createInterface({ input: m.reports }).on('line', (line) => {
    process.stderr.write(`report ${line} ${performance.now() - began}\n`)
    const [word, value = ''] = line.split(' ')
    if (word === 'exit') exitCode = Number(value)
    if (word === 'kernel') kernelVersion = value
  })
  const timer = setTimeout(() => m.child.kill('SIGKILL'), options.timeoutMs)
  await new Promise((r) => m.child.once('close', r))
  clearTimeout(timer)
  const console = readFileSync(join(folder, 'console.log'), 'utf8')
  if (exitCode === -1) throw new LabError('qemu-failed', console.slice(-3000))
  rmSync(folder, { recursive: true })
  return { exitCode, output, console, kernelVersion, qemuVersion: await lab.qemu.version(), seconds: (performance.now() - began) / 1000 }
}
function quote(w: string): string { return `'${w.replaceAll("'", `'\\''`)}'` }
