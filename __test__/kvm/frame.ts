import { closeSync, openSync, readSync, writeFileSync } from 'node:fs'

/** Makes the host lose the page frame behind an address of this process, without saying whose it is. */
export function loseFrameAt(address: bigint): void {
  const frame = frameAt(address)
  writeFileSync('/sys/devices/system/memory/hard_offline_page', `0x${(frame * 4096n).toString(16)}`)
}

/** The page frame number behind an address of this process, from /proc/self/pagemap. */
function frameAt(address: bigint): bigint {
  const entry = Buffer.alloc(8)
  const pagemap = openSync('/proc/self/pagemap', 'r')
  readSync(pagemap, entry, 0, 8, Number((address / 4096n) * 8n))
  closeSync(pagemap)
  const word = entry.readBigUInt64LE()
  if (word >> 63n === 0n) throw new Error(`the page at 0x${address.toString(16)} is not present`)
  return word & ((1n << 55n) - 1n)
}
