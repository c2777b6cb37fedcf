import { types } from 'node:util'
import { invalidOption } from './errors.ts'

const U64_LIMIT = 1n << 64n

/** Lets through a bigint of 64 bits. */
export function checkU64(value: unknown, what: string): bigint {
  if (typeof value !== 'bigint' || value < 0n || value >= U64_LIMIT) {
    throw invalidOption('a bigint from 0n to 2n ** 64n - 1n', what, value)
  }
  return value
}

/** Lets through an integer of a range. */
export function checkInteger(value: unknown, minimum: number, maximum: number, what: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < minimum || value > maximum) {
    throw invalidOption(`an integer from ${minimum} to ${maximum}`, what, value)
  }
  return value
}

/** Lets through a boolean. */
export function checkBoolean(value: unknown, what: string): boolean {
  if (typeof value !== 'boolean') throw invalidOption('a boolean', what, value)
  return value
}

/** Lets through a string that is not empty. */
export function checkString(value: unknown, what: string): string {
  if (typeof value !== 'string' || value === '')
    throw invalidOption('a string that is not empty', what, value)
  return value
}

/** Lets through one of some words. */
export function checkOneOf<const Word extends string>(
  value: unknown,
  words: readonly Word[],
  what: string,
): Word {
  const found = words.find((word) => word === value)
  if (found === undefined) throw invalidOption(words.map((word) => `'${word}'`).join(' or '), what, value)
  return found
}

/** Lets through bytes. */
export function checkBytes(value: unknown, what: string): Uint8Array {
  if (!types.isUint8Array(value)) throw invalidOption('a Uint8Array', what, value)
  return value
}

/** Lets through a signal. */
export function checkSignal(value: unknown, what: string): AbortSignal {
  if (!(value instanceof AbortSignal)) throw invalidOption('an AbortSignal', what, value)
  return value
}

/** Lets through an object that has no property but the named ones: a misspelt option must not be ignored in silence. */
export function checkRecord(value: unknown, names: readonly string[], what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalidOption('an object', what, value)
  }
  for (const name of Object.keys(value)) {
    if (!names.includes(name))
      throw invalidOption(`only ${names.join(', ')}`, `the properties of ${what}`, name)
  }
  return value as Record<string, unknown>
}
