import test from 'ava'
import { EscapeFilter } from '#cli/escape'

/** What comes out of a filter, with neighbouring bytes joined. */
function through(...chunks: string[]): string[] {
  const filter = new EscapeFilter()
  const found: string[] = []
  let bytes = ''
  for (const part of chunks.flatMap((chunk) => filter.take(Buffer.from(chunk, 'latin1')))) {
    if (typeof part !== 'string') bytes += Buffer.from(part).toString('latin1')
    else {
      if (bytes !== '') found.push(bytes)
      found.push(`<${part}>`)
      bytes = ''
    }
  }
  return bytes === '' ? found : [...found, bytes]
}

const EVERY_BYTE = String.fromCharCode(...Array.from({ length: 256 }, (_, byte) => byte))

for (const [what, typed, expected] of [
  ['nothing', '', []],
  [
    'every byte but Ctrl-a is for the guest',
    EVERY_BYTE.replace('\x01', ''),
    [EVERY_BYTE.replace('\x01', '')],
  ],
  ['Ctrl-a twice is Ctrl-a', 'a\x01\x01b', ['a\x01b']],
  ['Ctrl-a four times is Ctrl-a twice', '\x01\x01\x01\x01', ['\x01\x01']],
  ['Ctrl-a three times and x sends Ctrl-a and quits', '\x01\x01\x01x', ['\x01', '<quit>']],
  [
    'commands and what is around them',
    'a\x01xb\x01p\x01sc\x01hd\x01?',
    ['a', '<quit>', 'b', '<pause>', '<stats>', 'c', '<help>', 'd', '<help>'],
  ],
  ['the letter alone is for the guest', 'xps', ['xps']],
  ['a key that means nothing is dropped', 'a\x01zb\x01Xc', ['abc']],
  ['Ctrl-a alone waits', 'a\x01', ['a']],
] as [string, string, string[]][]) {
  test(what, (t) => {
    t.deepEqual(through(typed), expected)
    // However it is cut into pieces.
    t.deepEqual(through(...typed), expected)
    for (let cut = 0; cut <= typed.length; cut += 1) {
      t.deepEqual(through(typed.slice(0, cut), typed.slice(cut)), expected)
    }
  })
}
