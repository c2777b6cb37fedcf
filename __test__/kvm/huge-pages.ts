import { readFileSync, writeFileSync } from 'node:fs'

const POOL = '/proc/sys/vm/nr_hugepages'
const ATTEMPTS = 10

/**
 * Sets huge pages of 2 MiB aside on this host, for as long as the answer lives. What ran before has left its memory in pieces,
 * which the kernel puts together when it is asked to.
 */
export function setHugePagesAside(count: number): Disposable {
  const has = () => Number(readFileSync(POOL, 'utf8'))
  for (let attempt = 0; attempt < ATTEMPTS && has() < count; attempt += 1) {
    writeFileSync('/proc/sys/vm/drop_caches', '3')
    writeFileSync('/proc/sys/vm/compact_memory', '1')
    writeFileSync(POOL, String(count))
  }
  const received = has()
  const pool: Disposable = { [Symbol.dispose]: () => writeFileSync(POOL, '0') }
  if (received === count) return pool
  pool[Symbol.dispose]()
  throw new Error(`Expected ${count} huge pages of this host but it set ${received} aside`)
}
