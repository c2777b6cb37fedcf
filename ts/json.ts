import { checkU64 } from './checks.ts'
import type { VmEvent } from './events.ts'

/** The names of a type's properties of 64 bits, at any depth. An error's properties are words, and are left out. */
type U64Field<T> = T extends object
  ? T extends Error
    ? never
    : { [Key in keyof T]-?: (bigint extends T[Key] ? Key : never) | U64Field<T[Key]> }[keyof T]
  : never

/** Made complete by the compiler: an event's new field of 64 bits is an error here, and so is a name that no event has. */
const U64_FIELDS = {
  esr: true,
  gpa: true,
  gva: true,
  monotonicNs: true,
  pc: true,
  pstate: true,
} as const satisfies Record<Extract<U64Field<VmEvent>, string>, true>

const U64 = /^0x(?:0|[1-9a-f][0-9a-f]{0,15})$/

/**
 * The replacer that makes JSON of {@link VmEvent}, in the form that `seawall/events.schema.json` describes.
 *
 * A bigint becomes its shortest form in hexadecimal: `0x80000000n` is `"0x80000000"`. JSON's numbers are doubles to most
 * readers, which hold 53 bits (RFC 8259, section 6). What is not known stays `null`. An error becomes an object of its
 * `code`, `message`, `syscall` and `errno`, those it has: its stack and cause tell of this process, not of the guest.
 *
 * @example
 * ```ts
 * for await (const event of vm.events()) console.log(JSON.stringify(event, jsonReplacer))
 * ```
 *
 * @throws {@link SeawallError} `ERR_INVALID_OPTION` for a bigint that has no 64 bits without a sign.
 */
export function jsonReplacer(this: unknown, key: string, value: unknown): unknown {
  // A program that gives BigInt.prototype a toJSON(), as many do, has made a decimal string of the value by now.
  const { [key]: original = value } = (this ?? {}) as Record<string, unknown>
  if (typeof original === 'bigint') return `0x${checkU64(original, key || 'the value').toString(16)}`
  if (value instanceof Error) {
    const { code, message, syscall, errno } = value as NodeJS.ErrnoException
    return { code, message, syscall, errno }
  }
  return value
}

/**
 * The reviver that makes bigints of what {@link jsonReplacer} wrote, by the field's name: `esr`, `gpa`, `gva`,
 * `monotonicNs`, `pc` and `pstate`, at any depth. Every other string stays one, whatever it looks like: a VM may be named
 * `0x10`. A field of these names that holds no such string stays as it is.
 *
 * An error stays the object that it is in JSON.
 *
 * @example
 * ```ts
 * const event: VmEvent = JSON.parse(line, jsonReviver)
 * ```
 */
export function jsonReviver(key: string, value: unknown): unknown {
  return Object.hasOwn(U64_FIELDS, key) && typeof value === 'string' && U64.test(value)
    ? BigInt(value)
    : value
}
