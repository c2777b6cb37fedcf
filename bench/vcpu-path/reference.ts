import { execFileSync } from 'node:child_process'
import { imageOf } from './modes.ts'

/** What one run of a guest came to. */
export interface Run {
  /** How long each time took, in ticks of the guest's counter. */
  readonly times: readonly number[]
  /** Every record that the guest has read of lost pages, in hexadecimal digits. */
  readonly read: string
}

/** Where {@link runReference} finds the loop in C, built from bench/reference. */
export const REFERENCE = 'programs/kvm-loop'

/** The modes that the loop in C knows. */
export const MODES_OF_C: readonly string[] = [
  'spin',
  'least',
  'same',
  'first',
  'told',
  'mmio-read',
  'mmio-write',
]

/** Has the guest of the loop in C do one thing `count` times. */
export function runReference(mode: string, count: number): Run {
  const output = execFileSync(REFERENCE, [mode, String(count), imageOf(mode)], { encoding: 'utf8' })
  const lines = output.trim().split('\n')
  return { times: lines.slice(0, count).map(Number), read: lines[count] ?? '' }
}
