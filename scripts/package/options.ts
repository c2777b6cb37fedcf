import { parseArgs } from 'node:util'
import type { PackOptions } from './pack.ts'

/** How to pack, as the command line says it. */
export function packOptions(): PackOptions {
  const { values } = parseArgs({
    options: { addons: { type: 'string' }, all: { type: 'boolean', default: false } },
  })
  const { addons, all } = values
  return addons === undefined ? { all } : { all, addons }
}
