import fc from 'fast-check'

/** A buffer that was given away, as `postMessage` does. */
function detached(): Uint8Array {
  const bytes = new Uint8Array(8)
  structuredClone(bytes, { transfer: [bytes.buffer] })
  return bytes
}

/** What is an instance of a class by its prototype alone. */
function pretender({ name, prototype }: { name: string; prototype: object }): unknown {
  return Object.create(prototype, { [fc.toStringMethod]: { value: () => `no ${name}` } })
}

/** Values that pass for something else, and those at the edges of what an option takes. */
const ODD: readonly unknown[] = [
  Number.NaN,
  -0,
  0.5,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  Number.POSITIVE_INFINITY,
  -1n,
  0n,
  2n ** 64n - 1n,
  2n ** 64n,
  '',
  'a\0b',
  '\ud800',
  '__proto__',
  '/dev/zero',
  '/',
  '/nowhere',
  Symbol('a symbol'),
  () => {},
  Object.create(null),
  pretender(Uint8Array),
  pretender(Map),
  { __proto__: { type: 'flat' } },
  new Proxy({}, {}),
  new Uint8Array(new SharedArrayBuffer(8)),
  // ES2024, where Node has it.
  new Uint8Array(
    new (ArrayBuffer as new (length: number, options: object) => ArrayBuffer)(8, { maxByteLength: 16 }),
  ),
  detached(),
  new DataView(new ArrayBuffer(8)),
  new Float64Array(1),
  new Array(3),
  // biome-ignore lint/suspicious/noSparseArray: a hole is what it is about.
  [[], , []],
]

/** Anything at all. */
export const anything: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom(...ODD),
  fc.anything({
    maxDepth: 2,
    withBigInt: true,
    withBoxedValues: true,
    withDate: true,
    withMap: true,
    withNullPrototype: true,
    withSet: true,
    withSparseArray: true,
    withTypedArray: true,
  }),
)

/** Where in a value there is something, as the keys that lead there. */
function places(value: unknown): string[][] {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return [[]]
  return [
    [],
    ...Object.entries(value).flatMap(([key, inside]) => places(inside).map((rest) => [key, ...rest])),
  ]
}

function put(value: unknown, [key, ...rest]: string[], wrong: unknown): unknown {
  if (key === undefined) return wrong
  const copy: Record<string, unknown> = Array.isArray(value)
    ? Object.assign([], value)
    : Object.assign({}, value)
  copy[key] = put(copy[key], rest, wrong)
  return copy
}

/** A value that is right but for one place, where anything is, or for a property that it should not have. */
export function almost(right: object): fc.Arbitrary<unknown> {
  return fc.oneof(
    {
      weight: 8,
      arbitrary: fc
        .tuple(fc.constantFrom(...places(right)), anything)
        .map(([at, wrong]) => put(right, at, wrong)),
    },
    {
      weight: 1,
      arbitrary: fc.tuple(fc.string(), anything).map(([name, wrong]) => ({ ...right, [name]: wrong })),
    },
  )
}

/** How many cases of a property there are, and what repeats them. */
export function cases(numRuns: number): {
  numRuns: number
  includeErrorInReport: true
  seed?: number
} {
  const { SEAWALL_SEED: seed, SEAWALL_CASES: wanted } = process.env
  return {
    includeErrorInReport: true,
    numRuns: wanted === undefined ? numRuns : Number(wanted),
    // It takes 32 bits.
    ...(seed === undefined ? {} : { seed: Number(BigInt.asIntN(32, BigInt(seed))) }),
  }
}
