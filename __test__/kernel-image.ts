/** What the header of a made-up kernel says. */
export interface KernelImage {
  /** The size of the file in bytes. */
  readonly size: number
  /** What it needs in memory; default the size of the file. */
  readonly imageSize?: number
  readonly textOffset?: number
}

/**
 * Makes a file with the header of an arm64 Image and the PE header of its EFI stub, one section, and random content; nothing
 * in it can run.
 *
 * Source: Documentation/arch/arm64/booting.rst of Linux 7.3; PE/COFF specification.
 */
export function kernelImage({ size, imageSize = size, textOffset = 0 }: KernelImage): Buffer {
  const image = Buffer.alloc(size)
  for (let offset = 4096; offset + 4 <= size; offset += 4)
    image.writeUInt32LE((offset * 2654435761) >>> 0, offset)
  image.write('MZ', 0)
  image.writeBigUInt64LE(BigInt(textOffset), 8)
  image.writeBigUInt64LE(BigInt(imageSize), 16)
  image.writeUInt32LE(0x644d5241, 56)
  image.writeUInt32LE(64, 60)
  image.write('PE\0\0', 64)
  const optionalHeader = 160
  image.writeUInt16LE(1, 64 + 6)
  image.writeUInt16LE(optionalHeader, 64 + 20)
  const section = 64 + 24 + optionalHeader
  image.write('.text', section)
  image.writeUInt32LE(size - 4096, section + 16)
  image.writeUInt32LE(4096, section + 20)
  return image
}
