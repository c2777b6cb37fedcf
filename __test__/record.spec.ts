// A record's slots, bytes and flags have numbers on both sides: in crates/napi/src/record.rs, which writes, and in
// ts/failure-record.ts, which reads.
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
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

/** A module of the package that it does not export. */
async function inside(name: string): Promise<unknown> {
  return await import(pathToFileURL(resolve('dist', `${name}.js`)).href)
}

test('sizes of 4 GiB and more are read whole: a huge page may be as large', async (t) => {
  const { Records } = (await inside('record')) as typeof import('../dist/record.js')
  const { readFailureEvent } = (await inside('failure-record')) as typeof import('../dist/failure-record.js')
  const place = (name: string) => numbers.get(name) ?? Number.NaN
  const bytes = new Uint8Array(8 * variants('Slot').length)
  const view = new DataView(bytes.buffer)
  const flags = (1 << place('HAS_PAGE')) | (1 << place('HAS_QUARANTINE'))
  view.setUint32(8 * place('BEFORE_AND_FLAGS') + 4, flags, true)
  view.setBigUint64(8 * place('PAGE_SIZE'), 2n ** 34n, true)
  view.setBigUint64(8 * place('GRANULE'), 2n ** 34n, true)
  const { page, quarantine } = readFailureEvent(Records.of(bytes), { id: 'vm', name: null })
  t.is(page?.size, 2 ** 34)
  t.is(quarantine?.granule, 2 ** 34)
})
