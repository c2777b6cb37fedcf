import type { Vcpu, Vm } from 'seawall'

/** How a virtual address is translated: the tables that are walked, and where it lies. */
export interface Translation {
  /** The level of each table that is walked, and its guest-physical address; the first is the one that TTBRn_EL1 names. */
  readonly tables: readonly { readonly level: number; readonly gpa: bigint }[]
  readonly gpa: bigint
}

/** Bits 47:12 of TTBRn_EL1 and of a descriptor. */
const ADDRESS = 0x0000_ffff_ffff_f000n
const VALID = 1n << 0n
/** At level 3 a page, above it a table; a descriptor without it is a block. */
const TABLE_OR_PAGE = 1n << 1n
/** How many bits of an address a table of 512 descriptors resolves. */
const STRIDE = 9n

/**
 * Walks a vCPU's stage 1 as the processor does; null where there is no translation. For the 4 KiB granule and addresses of
 * 48 bits at most (Arm ARM D8.3). The vCPU is not in the guest.
 */
export async function translate(vm: Vm, vcpu: Vcpu, gva: bigint): Promise<Translation | null> {
  const upper = (gva >> 55n) & 1n
  const tcr = await vcpu.getRegister('tcr_el1')
  const size = 64n - ((tcr >> (upper === 1n ? 16n : 0n)) & 0x3fn)
  let level = Number(4n - (size - 12n + STRIDE - 1n) / STRIDE)
  let table = (await vcpu.getRegister(upper === 1n ? 'ttbr1_el1' : 'ttbr0_el1')) & ADDRESS
  const tables = []
  for (; ; level += 1) {
    tables.push({ level, gpa: table })
    const shift = 12n + STRIDE * BigInt(3 - level)
    const index = ((gva & ((1n << size) - 1n)) >> shift) & 0x1ffn
    const descriptor = vm.memory.read(table + index * 8n, 8).readBigUInt64LE()
    if ((descriptor & VALID) === 0n) return null
    const within = (1n << shift) - 1n
    if (level === 3 || (descriptor & TABLE_OR_PAGE) === 0n) {
      return { tables, gpa: (descriptor & ADDRESS & ~within) | (gva & within) }
    }
    table = descriptor & ADDRESS
  }
}
