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
    element('span', `chip ${severity}`, severity),
    element('span', `chip action ${action}`, action),
    at,
  )
}

function facts(words: string, failure: Failure): HTMLElement {
  const { consumer, signal, page, quarantine, notified, deferral, injection, ledger, flags } = failure
  const list = element('dl', 'facts')
  const add = (name: string, value: Content | null) => {
    if (value !== null) list.append(element('div', '', element('dt', '', name), element('dd', '', value)))
  }
  const mono = (value: string | null) => (value === null ? 'not known' : element('span', 'mono', value))
  add('Source', failure.source)
  add('Guest-virtual address', mono(failure.gva))
  add('Guest-physical page', mono(failure.gpa))
  add(
    'Instruction',
    consumer === null
      ? null
      : element('span', 'mono', `pc ${consumer.pc ?? '?'} pstate ${consumer.pstate ?? '?'}`),
  )
  add('Signal', signal === null ? null : `${signal.code}, lsb ${signal.lsb}`)
  add('Decided by', `${failure.decidedBy}; ${failure.recipient} has to deal with it`)
  add('Page', page === null ? 'not known' : `${page.state}, ${counted(page.hits, 'hit')}`)
  add('Quarantine', quarantine === null ? 'none' : `${quarantine.method}, ${quarantine.granule} bytes`)
  add('Injection', injection === null ? 'none' : injectionWords(injection))
  add('Guest told', notified === null ? 'no' : `by ${notified.source}, ${ackWords(notified.acked)}`)
  add(
    'Deferral',
    deferral === null
      ? null
      : `${deferral.retries} ${deferral.retries === 1 ? 'retry' : 'retries'} in ${deferral.ms} ms: ${deferral.outcome}`,
  )
  add(
    'Flags',
    Object.entries(flags)
      .flatMap(([name, is]) => (is ? [name] : []))
      .join(', ') || null,
  )
  add('So far', `${counted(ledger.distinctPages, 'page')} lost, ${counted(ledger.total, 'failure')}`)
  return element('div', '', element('p', 'words', words), list)
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
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
  // What says nothing comes last, and steps back: reserved bits, and the upper half where it is zero.
  const { fields } = decoded
  const rows = [...fields.filter((field) => !isQuiet(field)), ...fields.filter(isQuiet)].map((field) =>
    fieldRow(field, injected?.fields ?? []),
  )
  const thead = element('thead', '', element('tr', '', ...head))
  const table = element('table', 'syndrome', caption, thead, element('tbody', '', ...rows))
  return element('div', '', element('p', 'sentence', decoded.sentence), table)
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
    isQuiet(field) ? 'reserved' : '',
    head,
    element('td', 'mono bits', high === low ? String(high) : `${high}:${low}`),
    element('td', 'mono value', value),
    meanings,
  )
}

function isQuiet({ name, bits: [, low], value }: Field): boolean {
  return name.startsWith('RES') || (low >= 32 && value === '0x0')
}
