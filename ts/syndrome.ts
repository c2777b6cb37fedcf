import { checkU64 } from './checks.ts'
import { readAbortOnly } from './failure-record.ts'
import { loadNative } from './native.ts'
import { Records } from './record.ts'

/** A synchronous external abort's decoded syndrome (Arm ARM, ESR_ELx, ISS encoding of data and instruction aborts). */
export interface Abort {
  /** Whether a data access or an instruction fetch aborted. */
  kind: 'data' | 'instruction'
  /** The ESR value that was decoded. */
  esr: bigint
  /** ESR.EC, 6 bits. */
  exceptionClass: number
  /** DFSC or IFSC, 6 bits. */
  faultStatus: number
  /** The family the fault status belongs to. */
  cause: 'external' | 'external-table-walk' | 'parity-ecc' | 'parity-ecc-table-walk' | 'other'
  /** The level of the translation table walk that aborted, -1 to 3; `null` where the access itself did. */
  walkLevel: number | null
  /** ISS.SET, the severity; `unknown` where the architecture does not define it for this fault status. */
  set: 'uer' | 'uc' | 'ueo' | 'reserved' | 'unknown'
  /** ISS.WnR: `true` for a write, `null` for an instruction fetch. */
  write: boolean | null
  /** ISS.CM: a cache maintenance or address translation instruction. */
  cacheMaintenance: boolean
  /** ISS.EA: an implementation defined classification. */
  externalType: boolean
}

/** One field of an ESR value. */
export interface SyndromeField {
  /** The field's name in the Arm ARM; `RES0` for reserved bits. */
  name: string
  /** The highest and the lowest bit. */
  bits: [number, number]
  /** Its value. */
  value: bigint
  /** What the value means. */
  meaning: string
}

/** A decoded ESR value. Every 64-bit value has one. */
export interface Syndrome {
  /** The value. */
  esr: bigint
  /** ESR.EC, 6 bits. */
  exceptionClass: number
  /** What the exception class means. */
  name: string
  /** ESR.IL: the instruction had 32 bits. */
  il: boolean
  /** The abort, where the exception class is one. */
  abort: Abort | null
  /** Every field, from bit 63 to bit 0, without gaps. */
  fields: SyndromeField[]
}

/**
 * Decodes every field of an ESR value. Total: every 64-bit value decodes.
 *
 * @example
 * ```ts
 * import { decodeEsr } from 'seawall'
 *
 * const { abort } = decodeEsr(0x92000610n)
 * console.log(abort?.kind, abort?.cause, abort?.set) // data external uer
 * ```
 *
 * @throws {@link SeawallError} `ERR_INVALID_OPTION` for anything but a bigint of 64 bits, `ERR_NATIVE_MISSING` where no
 * addon loads.
 */
export function decodeEsr(esr: bigint): Syndrome {
  const value = checkU64(esr, 'esr')
  decoded ??= Records.ofLength(1)
  // To cut it once is a fraction of what it takes to cut each line.
  const lines = loadNative().decodeEsr(value, decoded.buffer).split('\n')
  const [exceptionClass, name = '', il] = lines
  const fields: SyndromeField[] = []
  for (let at = 3; at < lines.length; at += 5) fields.push(toField(lines, at))
  const abort = readAbortOnly(decoded)
  return { esr, exceptionClass: Number(exceptionClass), name, il: il === '1', abort, fields }
}

/** Where the addon writes an abort. */
let decoded: Records | undefined

function toField(lines: readonly string[], at: number): SyndromeField {
  return {
    name: lines[at] ?? '',
    bits: [Number(lines[at + 1]), Number(lines[at + 2])],
    value: BigInt(lines[at + 3] ?? 0),
    meaning: lines[at + 4] ?? '',
  }
}

/**
 * Describes an ESR value for people: one sentence, then one line per field.
 *
 * @example
 * ```ts
 * import { formatEsr } from 'seawall'
 *
 * console.log(formatEsr(0x92000610n))
 * ```
 *
 * @throws {@link SeawallError} `ERR_INVALID_OPTION` for anything but a bigint of 64 bits, `ERR_NATIVE_MISSING` where no
 * addon loads.
 */
export function formatEsr(esr: bigint): string {
  return loadNative().formatEsr(checkU64(esr, 'esr'))
}
