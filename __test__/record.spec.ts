// A record's slots, bytes and flags have numbers on both sides: in crates/napi/src/record.rs, which writes, and in
// ts/failure-record.ts, which reads.
import { readFileSync } from 'node:fs'
import test from 'ava'

const rust = readFileSync('crates/napi/src/record.rs', 'utf8')
const ts = readFileSync('ts/failure-record.ts', 'utf8')

/** The variants of an enum in Rust, in order; those that only take a place begin with an underscore. */
function variants(name: string): string[] {
  const body = new RegExp(`pub\\(crate\\) enum ${name} \\{(.*?)\\n\\}`, 's').exec(rust)?.[1] ?? ''
  const lines = body.split('\n').map((line) => line.trim())
  return lines.filter((line) => /^\w+,$/.test(line)).map((line) => line.slice(0, -1))
}

/** The numbers of the constants in TypeScript; a flag's is that of its bit. */
const numbers = new Map(
  [...ts.matchAll(/^const ([A-Z_]+) = (?:1 << )?(\d+)$/gm)].map(([, name = '', number]) => [
    name,
    Number(number),
  ]),
)

function constant(variant: string): string {
  return variant.replace(/(?<=.)[A-Z]/g, (letter) => `_${letter}`).toUpperCase()
}

for (const [name, prefix, places] of [
  ['Slot', '', ['Bytes', '_Bytes', '__Bytes']],
  ['Byte', '', []],
  ['Flag', 'HAS_', []],
] as const) {
  test(`what the addon writes as a ${name} is read as the same one`, (t) => {
    const found = variants(name)
    t.true(found.length > 15)
    for (const [index, variant] of found.entries()) {
      if ((places as readonly string[]).includes(variant)) continue
      const plain = constant(variant)
      t.is(numbers.get(prefix + plain) ?? (prefix === '' ? undefined : numbers.get(plain)), index, variant)
    }
  })
}

test('every number that is read has a name on the side that writes', (t) => {
  const written = ['Slot', 'Byte', 'Flag'].flatMap((name) => variants(name).map(constant))
  for (const name of numbers.keys()) {
    t.true(written.includes(name) || written.includes(name.replace(/^HAS_/, '')), name)
  }
})
