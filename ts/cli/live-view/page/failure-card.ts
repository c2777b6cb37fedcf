import type { MemoryFailureEvent } from '../../../events.js'
import type { SyndromeField } from '../../../syndrome.js'
import type { Json, Messages } from '../wire.js'
import { type Content, element } from './elements.js'

type Failure = Json<MemoryFailureEvent>
type Field = Json<SyndromeField>

/** One memory failure: a line, and behind it all that is known of it. */
export function failureCard(message: Json<Messages['event']>, failure: Failure): HTMLDetailsElement {
  const card = element('details', `failure ${failure.severity}`, summary(failure))
  card.dataset['seq'] = String(failure.seq)
  // Most are never looked into.
  card.addEventListener('toggle', () => {
    if (!card.open || card.childElementCount > 1) return
    card.append(element('div', 'body', facts(message.words, failure), syndrome(message, failure)))
  })
  return card
}

function summary(failure: Failure): HTMLElement {
  const { seq, time, gpa, vcpu, consumer, source, severity, action } = failure
  const at = element('time', 'when mono', time.slice(11, 23))
  at.dateTime = time
  const who = consumer === null ? source : `${consumer.mode} mode${vcpu === null ? '' : `, vCPU ${vcpu}`}`
  return element(
    'summary',
    '',
    element('span', 'seq mono', `#${seq}`),
    element('span', 'where mono', gpa ?? 'no address'),
    element('span', 'who', who),
    element(
      'span',
      'chips',
      element('span', `chip ${severity}`, severity),
      element('span', `chip ${action}`, action),
    ),
    at,
  )
}

function facts(words: string, failure: Failure): HTMLElement {
  const { consumer, signal, page, quarantine, notified, deferral, injection, ledger, flags } = failure
  const set = Object.entries(flags).flatMap(([name, is]) => (is ? [name] : []))
  return element(
    'div',
    '',
    element('p', 'words', words),
    element('h3', '', 'What happened'),
    factList([
      ['Source', failure.source],
      ['Guest-physical page', mono(failure.gpa)],
      ['Guest-virtual address', mono(failure.gva)],
      ['Instruction (pc)', consumer === null ? null : mono(consumer.pc)],
      ['State (pstate)', consumer === null ? null : mono(consumer.pstate)],
      ['Signal', signal === null ? null : `${signal.code}, lsb ${signal.lsb}`],
      ['Flags', set.length === 0 ? null : set.join(', ')],
      ['So far', `${counted(ledger.distinctPages, 'page')} lost, ${counted(ledger.total, 'failure')}`],
    ]),
    element('h3', '', 'What was done'),
    factList([
      ['Action', failure.action],
      ['Decided by', failure.decidedBy],
      ['Injection', injection === null ? 'none' : injectionWords(injection)],
      ['Page', page === null ? 'not known' : `${page.state}, ${counted(page.hits, 'hit')}`],
      ['Quarantine', quarantine === null ? 'none' : `${quarantine.method}, ${quarantine.granule} bytes`],
      ['Guest told', notified === null ? 'no' : `by ${notified.source}, ${ackWords(notified.acked)}`],
      ['Deferral', deferral === null ? null : deferralWords(deferral)],
      ['Recipient', failure.recipient],
    ]),
  )
}

/** Names and values; what is `null` is left out. */
function factList(facts: readonly (readonly [name: string, value: Content | null])[]): HTMLElement {
  const list = element('dl', 'facts')
  for (const [name, value] of facts)
    if (value !== null) list.append(element('div', '', element('dt', '', name), element('dd', '', value)))
  return list
}

function mono(value: string | null): Content {
  return value === null ? 'not known' : element('span', 'mono', value)
}

function deferralWords({ retries, ms, outcome }: NonNullable<Failure['deferral']>): string {
  return `${retries} ${retries === 1 ? 'retry' : 'retries'} in ${ms} ms: ${outcome}`
}

function counted(count: number, what: string): string {
  return `${count.toLocaleString('en')} ${what}${count === 1 ? '' : 's'}`
}

function injectionWords({ method, result, errno }: NonNullable<Failure['injection']>): string {
  return `${method}, ${result}${errno === undefined ? '' : ` (${errno})`}`
}

function ackWords(acked: boolean | null): string {
  return acked === null ? 'not read yet' : acked ? 'read' : 'not read'
}

function syndrome({ syndrome, injected }: Json<Messages['event']>, failure: Failure): HTMLElement {
  const decoded = syndrome ?? injected
  if (decoded === null) return element('p', 'quiet', 'No syndrome: no access of a vCPU has met this error.')
  const value = (register: string, esr: string | null | undefined) =>
    element('span', 'mono', `${register} ${esr ?? ''}`)
  const read = value('ESR_EL1', failure.injection?.esr)
  const caption = element('caption', '')
  if (syndrome === null)
    caption.append(read, ' as the guest’s handler reads it. The access itself has no syndrome.')
  else {
    caption.append(
      value('ESR', failure.abort?.esr),
      ' as KVM reports it: EC, IL, SET, FnV, EA, CM, WnR and DFSC or IFSC. ',
    )
    if (injected !== null) caption.append('The guest’s handler reads ', read, '; fields that differ say so.')
  }
  const head = ['Field', 'Bits', 'Value', 'Meaning'].map((name) => {
    const cell = element('th', '', name)
    cell.scope = 'col'
    return cell
  })
  const { fields } = decoded
  const rows = (which: readonly Field[]) => which.map((field) => fieldRow(field, injected?.fields ?? []))
  const thead = element('thead', '', element('tr', '', ...head))
  const tbody = element('tbody', '', ...rows(fields.filter((field) => !isQuiet(field))))
  return element(
    'div',
    '',
    element('h3', '', 'Syndrome'),
    element('p', 'sentence', decoded.sentence),
    element('table', 'syndrome', caption, thead, tbody),
    zeroes(rows(fields.filter(isQuiet))),
  )
}

/** What says nothing comes last, for whoever asks: reserved bits, and the upper half where it is zero. */
function zeroes(rows: readonly HTMLElement[]): HTMLElement {
  return element(
    'details',
    'zeroes',
    element('summary', '', `${rows.length} more fields, reserved or zero`),
    element('table', 'syndrome', element('tbody', '', ...rows)),
  )
}

function fieldRow(field: Field, injected: readonly Field[]): HTMLElement {
  const { name, bits, value, meaning } = field
  const [high, low] = bits
  const read = injected.find(
    (other) => other.bits[0] === high && other.bits[1] === low && other.value !== value,
  )
  const head = element('th', 'mono', name)
  head.scope = 'row'
  const meanings = element('td', 'meaning', meaning)
  if (read !== undefined) {
    meanings.append(
      element('div', 'reads', `guest reads ${read.value}${read.meaning === '' ? '' : `: ${read.meaning}`}`),
    )
  }
  return element(
    'tr',
    '',
    head,
    element('td', 'mono bits', high === low ? String(high) : `${high}:${low}`),
    element('td', 'mono value', value),
    meanings,
  )
}

function isQuiet({ name, bits: [, low], value }: Field): boolean {
  return name.startsWith('RES') || (low >= 32 && value === '0x0')
}
