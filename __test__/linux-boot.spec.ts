// What Vm.create() says of a kernel that cannot be booted, before anything runs. The simulator loads like KVM.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import test from 'ava'
import { type LinuxBoot, SeawallError, simulated, Vm } from 'seawall'
import { kernelImage } from './kernel-image.ts'

const MIB = 2 ** 20
const folder = mkdtempSync(join(tmpdir(), 'seawall-boot-'))
test.after.always(() => rmSync(folder, { recursive: true }))

function file(name: string, content: Uint8Array): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

async function create(boot: Omit<LinuxBoot, 'type'>, memory = 32 * MIB, vcpus = 1): Promise<Vm> {
  return await Vm.create({
    memory,
    vcpus,
    boot: { type: 'linux', ...boot },
    backend: simulated({ script: [[{ step: 'spin' }]] }),
  })
}

const good = kernelImage({ size: 3 * MIB })
const kernel = file('Image', good)
const bytes = (start: number, magic: string | number[], length = 4096) => {
  const content = Buffer.alloc(length)
  Buffer.from(magic as string).copy(content, start)
  return content
}
const NOT_A_KERNEL = 'Expected an arm64 Linux kernel Image, plain or gzip, for boot.kernel but received'

const wrong: [
  what: string,
  boot: Omit<LinuxBoot, 'type'>,
  code: string,
  message: string | RegExp,
  memory?: number,
][] = [
  [
    'a kernel that is not there',
    { kernel: '/nowhere/Image' },
    'ERR_INVALID_IMAGE',
    'Expected a readable file for boot.kernel but received "/nowhere/Image" (ENOENT)',
  ],
  [
    'a folder as the kernel',
    { kernel: folder },
    'ERR_INVALID_IMAGE',
    `Expected a readable file for boot.kernel but received "${folder}" (EISDIR)`,
  ],
  [
    'a device as the kernel',
    { kernel: '/dev/zero' },
    'ERR_INVALID_IMAGE',
    'Expected a regular file for boot.kernel but received "/dev/zero"',
  ],
  [
    'an empty kernel',
    { kernel: file('empty', new Uint8Array()) },
    'ERR_INVALID_IMAGE',
    `${NOT_A_KERNEL} an empty file`,
  ],
  [
    'a kernel that ends within its header',
    { kernel: file('short', good.subarray(0, 63)) },
    'ERR_INVALID_IMAGE',
    `${NOT_A_KERNEL} a file that is shorter than the 64 bytes of a kernel's header`,
  ],
  [
    'a truncated Image',
    { kernel: file('truncated', good.subarray(0, good.length - 1)) },
    'ERR_INVALID_IMAGE',
    `Expected at least ${good.length} bytes for boot.kernel, as its header says, but received ${good.length - 1}`,
  ],
  [
    'an x86 kernel',
    { kernel: file('bzImage', bytes(0x202, 'HdrS')) },
    'ERR_INVALID_IMAGE',
    `${NOT_A_KERNEL} an x86 kernel (bzImage)`,
  ],
  [
    'an EFI zboot kernel',
    { kernel: file('zboot', bytes(0, 'MZ\0\0zimg')) },
    'ERR_INVALID_IMAGE',
    /received an EFI zboot kernel, which unpacks itself with the help of EFI firmware only: give the Image inside it/,
  ],
  [
    'vmlinux',
    { kernel: file('vmlinux', bytes(0, '\x7fELF')) },
    'ERR_INVALID_IMAGE',
    /received an ELF file \(vmlinux\)/,
  ],
  [
    'a kernel packed by something else than gzip',
    { kernel: file('Image.zst', bytes(0, [0x28, 0xb5, 0x2f, 0xfd])) },
    'ERR_INVALID_IMAGE',
    `${NOT_A_KERNEL} a zstd file: unpack it first (zstd -d)`,
  ],
  [
    'text as the kernel',
    { kernel: file('text', bytes(0, 'hello')) },
    'ERR_INVALID_IMAGE',
    `${NOT_A_KERNEL} a file without the magic number ARM\\x64 at byte 56`,
  ],
  [
    'a gzip file that is cut off',
    { kernel: file('cut.gz', gzipSync(good).subarray(0, 1000)) },
    'ERR_INVALID_IMAGE',
    /^Expected a whole gzip file for boot.kernel but received one that is broken: /,
  ],
  [
    'a gzip file with something else behind it',
    { kernel: file('tail.gz', Buffer.concat([gzipSync(good), Buffer.from('signature')])) },
    'ERR_INVALID_IMAGE',
    /^Expected a whole gzip file for boot.kernel but received one that is broken: what follows it at byte \d+ is neither gzip nor zeroes$/,
  ],
  [
    'a gzip file with something else in it',
    { kernel: file('text.gz', gzipSync(bytes(0, 'hello'))) },
    'ERR_INVALID_IMAGE',
    `${NOT_A_KERNEL} a file without the magic number ARM\\x64 at byte 56`,
  ],
  [
    'a text offset that no kernel has',
    { kernel: file('offset', kernelImage({ size: MIB, textOffset: 0x123 })) },
    'ERR_INVALID_IMAGE',
    'Expected a multiple of 4 KiB below 2 MiB for the text offset of boot.kernel but received 0x123',
  ],
  [
    'memory that is too small for the kernel',
    { kernel },
    'ERR_INVALID_OPTION',
    `Expected at least ${6 * MIB} bytes for memory, which this kernel with its device tree needs, but received ${4 * MIB}`,
    4 * MIB,
  ],
  [
    'a gzip file that unpacks to more than memory',
    { kernel: file('large.gz', gzipSync(kernelImage({ size: 9 * MIB }))) },
    'ERR_INVALID_OPTION',
    /^Expected at least \d+ bytes for memory, which this kernel with its device tree needs, but received 8388608$/,
    8 * MIB,
  ],
  [
    'an initial RAM disk that is not there',
    { kernel, initrd: '/nowhere/initrd' },
    'ERR_INVALID_IMAGE',
    'Expected a readable file for boot.initrd but received "/nowhere/initrd" (ENOENT)',
  ],
  [
    'an empty initial RAM disk',
    { kernel, initrd: file('no-initrd', new Uint8Array()) },
    'ERR_INVALID_IMAGE',
    'Expected an initial RAM disk for boot.initrd but received an empty file',
  ],
  [
    'an initial RAM disk that has no room beside the kernel',
    { kernel, initrd: file('initrd', new Uint8Array(3 * MIB + 1)) },
    'ERR_INVALID_IMAGE',
    `Expected at most ${3 * MIB} bytes for boot.initrd, which is what this memory has room for, but received ${3 * MIB + 1}`,
    8 * MIB,
  ],
  [
    'an initial RAM disk larger than memory',
    { kernel, initrd: file('large-initrd', new Uint8Array(9 * MIB)) },
    'ERR_INVALID_IMAGE',
    `Expected at most ${3 * MIB} bytes for boot.initrd, which is what this memory has room for, but received ${8 * MIB + 1}`,
    8 * MIB,
  ],
  [
    'a command line that is too long',
    { kernel, cmdline: 'x'.repeat(2040) },
    'ERR_INVALID_OPTION',
    'Expected at most 2039 bytes for boot.cmdline but received 2040',
  ],
  [
    'a command line that is too long without ACPI',
    { kernel, cmdline: 'x'.repeat(2048), acpi: false },
    'ERR_INVALID_OPTION',
    'Expected at most 2047 bytes for boot.cmdline but received 2048',
  ],
  [
    'a word for whether there is ACPI',
    { kernel, acpi: 'off' as unknown as boolean },
    'ERR_INVALID_OPTION',
    /for boot.acpi but received "off"$/,
  ],
  [
    'a command line with a NUL',
    { kernel, cmdline: 'quiet\0debug' },
    'ERR_INVALID_OPTION',
    'Expected no NUL in boot.cmdline but received one at byte 5',
  ],
  ['no kernel', {} as LinuxBoot, 'ERR_INVALID_OPTION', /for boot.kernel but received undefined$/],
  [
    'a flat image with a kernel',
    { kernel, image: 'flat.bin' } as Omit<LinuxBoot, 'type'>,
    'ERR_INVALID_OPTION',
    'Expected only type, kernel, initrd, cmdline, acpi for the properties of boot but received "image"',
  ],
]

for (const [what, boot, code, message, memory] of wrong) {
  test(`a Linux guest is refused for ${what}`, async (t) => {
    const error = await t.throwsAsync(create(boot, memory), { instanceOf: SeawallError, message })
    t.is<string | undefined, string>(error?.code, code)
  })
}

test('kernel, initial RAM disk and device tree lie where the registers and the tree say', async (t) => {
  const initrd = Buffer.alloc(5000, 'initrd')
  for (const [name, image] of [
    ['Image', good],
    ['Image.gz', gzipSync(good)],
    ['padded.gz', Buffer.concat([gzipSync(good), new Uint8Array(4096)])],
  ] as const) {
    await using vm = await create({ kernel: file(name, image), initrd: file('small', initrd) }, 8 * MIB)
    const [vcpu] = vm.vcpus
    t.is(await vcpu?.getRegister('pc'), 0x8000_0000n)
    t.is(await vcpu?.getRegister('pstate'), 0x3c5n)
    t.deepEqual(vm.memory.read(0x8000_0000n, good.length), good)
    const deviceTree = await vcpu?.getRegister('x0')
    t.is(deviceTree, 0x8060_0000n, 'the last 2 MiB')
    t.is(vm.memory.read(deviceTree ?? 0n, 4).readUInt32BE(), 0xd00dfeed)
    t.deepEqual(vm.memory.read(0x805f_e000n, initrd.length), initrd)
  }
})

test('a kernel that must lie at an offset does', async (t) => {
  const image = kernelImage({ size: MIB, textOffset: 0x8_0000 })
  await using vm = await create({ kernel: file('old', image) }, 8 * MIB)
  t.is(await vm.vcpus[0]?.getRegister('pc'), 0x8008_0000n)
  t.deepEqual(vm.memory.read(0x8008_0000n, image.length), image)
})

test('a kernel keeps the memory that it clears by itself', async (t) => {
  const image = kernelImage({ size: MIB, imageSize: 5 * MIB })
  const initrd = file('beside-bss', new Uint8Array(MIB))
  await t.throwsAsync(create({ kernel: file('bss', image), initrd }, 7 * MIB), { code: 'ERR_INVALID_OPTION' })
  await using vm = await create({ kernel: file('bss', image), initrd }, 8 * MIB)
  t.is(vm.state, 'created')
})
