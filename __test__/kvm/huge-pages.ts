import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const POOL = '/sys/kernel/mm/hugepages/hugepages-2048kB'
const ATTEMPTS = 10

/**
 * Sets huge pages of 2 MiB aside on this host, for as long as the answer lives. A huge page that lost memory stays in the
 * kernel's pool for ever, and what ran before has left memory in pieces, which the kernel puts together when it is asked to.
 */
export function setHugePagesAside(count: number): Disposable {
  const number = (name: string) => Number(readFileSync(join(POOL, name), 'utf8'))
  const free = () => number('free_hugepages')
  for (let attempt = 0; attempt < ATTEMPTS && free() < count; attempt += 1) {
    const used = number('nr_hugepages') - free()
    writeFileSync('/proc/sys/vm/drop_caches', '3')
    writeFileSync('/proc/sys/vm/compact_memory', '1')
    writeFileSync(join(POOL, 'nr_hugepages'), String(used + count))
  }
  const received = free()
  const pool: Disposable = { [Symbol.dispose]: () => writeFileSync(join(POOL, 'nr_hugepages'), '0') }
  if (received >= count) return pool
  pool[Symbol.dispose]()
  throw new Error(`Expected ${count} free huge pages of this host but it has ${received}`)
}
