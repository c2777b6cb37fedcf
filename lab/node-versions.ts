import { Cache } from './cache.ts'
import { makeNode } from './node-runtime.ts'

/** The lines of Node that Seawall is for. */
export const NODE_LINES = [20, 22, 24, 26] as const

/**
 * The newest Node of a line, or the one of a whole version, for this machine or another processor of its system: from the npm
 * package that carries the official binary, downloaded into the cache, and checked there.
 */
export async function findNode(line: number | string, architecture: string = process.arch): Promise<string> {
  const name = `node-${process.platform}-${architecture}`
  return await makeNode(new Cache(), `${name}-${line}`, `${name}@${line}`)
}
