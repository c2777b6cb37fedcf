import { ANSWER_MS, retiredKib } from './blast-radius-look.ts'
import { GUEST_MEMORY_MIB } from './blast-radius-rows.ts'
import type { LinuxGuest } from './linux-guest.ts'

const RAM = 0x8000_0000n
const PAGE = 4096n
const U64 = (1n << 64n) - 1n

/**
 * Reports `count` pages anywhere in the guest's RAM as lost, chosen by `seed`, and waits until the guest has read of all, says
 * nothing any more, or had the time for it.
 */
export async function strew(guest: LinuxGuest, count: number, seed: bigint): Promise<void> {
  const lost = choose(count, seed)
  await Promise.all(lost.map((gpa) => guest.vm.reportPoison(gpa, 1)))
  const deadline = performance.now() + ANSWER_MS
  const isUnread = () => guest.vm.poisonedPages().some(({ state }) => state !== 'guest-retired')
  while (isUnread() && (await retiredKib(guest)) !== null && performance.now() < deadline);
}

/** So many different pages of the guest's RAM. */
export function choose(count: number, seed: bigint): bigint[] {
  const all = (BigInt(GUEST_MEMORY_MIB) << 20n) / PAGE
  const chosen = new Set<bigint>()
  for (let state = seed; chosen.size < count; ) {
    // SplitMix64.
    state = (state + 0x9e37_79b9_7f4a_7c15n) & U64
    let number = ((state ^ (state >> 30n)) * 0xbf58_476d_1ce4_e5b9n) & U64
    number = ((number ^ (number >> 27n)) * 0x94d0_49bb_1331_11ebn) & U64
    chosen.add(RAM + ((number ^ (number >> 31n)) % all) * PAGE)
  }
  return [...chosen]
}
