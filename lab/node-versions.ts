import { Cache } from './cache.ts'
import { makeNode } from './node-runtime.ts'

/** The lines of Node that Seawall is for. */
export const NODE_LINES = [20, 22, 24, 26] as const

/**
 * The newest Node of a line for this machine, or the one of a whole version, from the npm package that carries the official binary: downloaded into the
 * cache, and checked there.
 */
export async function findNode(line: number | string): Promise<string> {
  const name = `node-${process.platform}-${process.arch}`
  return await makeNode(new Cache(), `${name}-${line}`, `${name}@${line}`)
}
