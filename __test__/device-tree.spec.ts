// The device tree of a Linux guest, read back by dtc: what it says, and that it loses nothing on the way there and back.
// SEAWALL_DTC is the path of dtc; without it the one of this machine is taken.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { simulated, Vm, type VmOptions } from 'seawall'
import { kernelImage } from './kernel-image.ts'

const MIB = 2 ** 20
const RAM = 0x8000_0000n
const dtc = process.env['SEAWALL_DTC'] ?? 'dtc'
const folder = mkdtempSync(join(tmpdir(), 'seawall-device-tree-'))
test.after.always(() => rmSync(folder, { recursive: true }))

const kernel = join(folder, 'Image')
writeFileSync(kernel, kernelImage({ size: MIB }))
const initrd = join(folder, 'initrd')
writeFileSync(initrd, 'an initial RAM disk')

function canRunDtc(): boolean {
  try {
    execFileSync(dtc, ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
const withDtc = canRunDtc() ? test : test.skip

/** Converts a device tree, and lets dtc complain: all its checks are on, and none may find anything. */
function convert(t: ExecutionContext, from: 'dtb' | 'dts', to: 'dtb' | 'dts', input: Uint8Array): Buffer {
  const complaints = join(folder, `${from}-${to}-complaints`)
  const args = ['-I', from, '-O', to, '-s', '-o', '-', '-']
  const output = execFileSync('sh', ['-c', 'exec "$@" 2>"$0"', complaints, dtc, ...args], { input })
  t.is(execFileSync('cat', [complaints], { encoding: 'utf8' }), '', `dtc from ${from} to ${to}`)
  return output
}

/** Reads the guest's device tree out of its memory, where its first vCPU finds it. */
async function deviceTreeOf(options: Partial<VmOptions>): Promise<Buffer> {
  await using vm = await Vm.create({
    memory: 16 * MIB,
    boot: { type: 'linux', kernel },
    backend: simulated({ script: [[{ step: 'spin' }]] }),
    ...options,
  })
  const place = (await vm.vcpus[0]?.getRegister('x0')) ?? 0n
  return vm.memory.read(place, vm.memory.read(place + 4n, 4).readUInt32BE())
}

/** The property of a node, as dtc writes it. */
function property(source: string, node: string, name: string): string | undefined {
  const from = source.indexOf(`${node} {`)
  const body = source.slice(from, source.indexOf('\n\t};', from))
  return new RegExp(`\\b${name.replaceAll(/[#,]/g, '\\$&')} = (.*);`).exec(body)?.[1]
}

const cells = (...values: (number | bigint)[]) =>
  `<${values.map((value) => `0x${value.toString(16).padStart(2, '0')}`).join(' ')}>`
const pair = (value: number | bigint) => [BigInt(value) >> 32n, BigInt(value) & 0xffff_ffffn] as const

for (const [vcpus, memory] of [
  [1, 16 * MIB],
  [4, 512 * MIB],
  [40, 5 * 1024 * MIB],
] as const) {
  withDtc(`the device tree of ${vcpus} vCPUs and ${memory / MIB} MiB survives dtc`, async (t) => {
    const blob = await deviceTreeOf({
      vcpus,
      memory,
      boot: { type: 'linux', kernel, initrd, cmdline: 'a "b" c' },
    })
    const source = convert(t, 'dtb', 'dts', blob)
    const again = convert(t, 'dts', 'dtb', source)
    t.is(convert(t, 'dtb', 'dts', again).toString(), source.toString())

    const text = source.toString()
    t.is(property(text, 'memory@80000000', 'reg'), cells(...pair(RAM), ...pair(memory)))
    t.is(property(text, 'chosen', 'bootargs'), '"acpi=on a \\"b\\" c"')
    const numbers = [...text.matchAll(/\tcpu@([0-9a-f]+) \{/g)].map(([, unit]) =>
      Number.parseInt(unit ?? '', 16),
    )
    // 16 vCPUs share the second level of affinity.
    const affinities = Array.from({ length: vcpus }, (_, index) => ((index >> 4) << 8) | (index & 15))
    t.deepEqual(
      numbers.sort((a, b) => a - b),
      affinities,
    )
    t.is(
      property(text, 'interrupt-controller@3fff0000', 'reg'),
      cells(0, 0x3fff_0000, 0, 0x1_0000, 0, 0x3fff_0000 - vcpus * 0x2_0000, 0, vcpus * 0x2_0000),
    )
    t.is(property(text, 'serial@40002000', 'reg'), cells(0, 0x4000_2000, 0, 0x1000))
    t.is(property(text, 'serial@40002000', 'interrupts'), cells(0, 1, 1))
    t.is(property(text, 'timer', 'interrupts'), cells(1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4))
    t.is(property(text, 'psci', 'method'), '"hvc"')
  })
}

withDtc('the device tree says where the initial RAM disk lies', async (t) => {
  const text = (name: string) => property(source, 'chosen', name)
  const source = convert(
    t,
    'dtb',
    'dts',
    await deviceTreeOf({ boot: { type: 'linux', kernel, initrd } }),
  ).toString()
  const start = RAM + BigInt(14 * MIB - 4096)
  t.is(text('linux,initrd-start'), cells(...pair(start)))
  t.is(text('linux,initrd-end'), cells(...pair(start + 19n)))
  t.is(text('bootargs'), '"acpi=on console=ttyS0 panic=-1"')
  const without = convert(t, 'dtb', 'dts', await deviceTreeOf({})).toString()
  t.is(property(without, 'chosen', 'linux,initrd-start'), undefined)
})

withDtc('the device tree says where the ACPI tables are, where there are any', async (t) => {
  const names = ['system-table', 'mmap-start', 'mmap-size', 'mmap-desc-size', 'mmap-desc-ver', 'secure-boot']
  const chosen = async (acpi: boolean) => {
    const blob = await deviceTreeOf({ boot: { type: 'linux', kernel, acpi } })
    const source = convert(t, 'dtb', 'dts', blob).toString()
    const uefi = names.map((name) => property(source, 'chosen', `linux,uefi-${name}`))
    return { uefi, commandLine: property(source, 'chosen', 'bootargs') }
  }
  const { uefi, commandLine } = await chosen(true)
  t.is(commandLine, '"acpi=on console=ttyS0 panic=-1"')
  const [systemTable, memoryMap, size, ...rest] = uefi
  // A MiB behind the device tree, which lies in the last two.
  for (const place of [systemTable, memoryMap]) t.regex(place ?? '', /^<0x00 0x80f0[0-9a-f]{4}>$/)
  t.regex(size ?? '', /^<0x[0-9a-f]+>$/)
  t.deepEqual(rest, [cells(40), cells(1), cells(2)])
  t.deepEqual(await chosen(false), {
    uefi: names.map(() => undefined),
    commandLine: '"console=ttyS0 panic=-1"',
  })
})

withDtc('the device tree has the line to an agent where one is asked for', async (t) => {
  const boot = { type: 'linux', kernel, acpi: false } as const
  const read = async (notifyGuest: 'agent' | 'none') => {
    const blob = await deviceTreeOf({ boot, memoryFailure: { notifyGuest } })
    return convert(t, 'dtb', 'dts', blob).toString()
  }
  const text = await read('agent')
  t.is(property(text, 'aliases', 'serial1'), '"/serial@40003000"')
  t.is(property(text, 'chosen', 'stdout-path'), '"serial0:115200n8"')
  t.is(property(text, 'serial@40003000', 'compatible'), '"ns16550a"')
  t.is(property(text, 'serial@40003000', 'reg'), cells(0, 0x4000_3000, 0, 0x1000))
  t.is(property(text, 'serial@40003000', 'interrupts'), cells(0, 3, 1))
  const without = await read('none')
  t.notRegex(without, /serial1|serial@40003000/)
})

withDtc('every boot has a random seed of its own', async (t) => {
  const seeds = new Set<string | undefined>()
  for (let boot = 0; boot < 3; boot += 1) {
    const source = convert(t, 'dtb', 'dts', await deviceTreeOf({})).toString()
    for (const name of ['rng-seed', 'kaslr-seed']) {
      const seed = property(source, 'chosen', name)
      t.regex(seed ?? '', name === 'rng-seed' ? /^<(0x[0-9a-f]+ ?){14}>$/ : /^<(0x[0-9a-f]+ ?){2}>$/)
      seeds.add(seed)
    }
  }
  t.is(seeds.size, 6)
})
