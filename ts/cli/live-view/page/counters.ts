import type { VmState } from '../../../events.js'
import type { VmStats } from '../../../stats.js'
import type { Json } from '../wire.js'
import { element, find } from './elements.js'

/** What the VM has counted. */
export function showCounters(stats: Json<VmStats>): void {
  const { exits, failures, delivered, lost, consoleBytesLost, decisions } = stats
  const counted = Object.entries(exits).filter(([, count]) => count !== '0x0')
  const total = counted.reduce((sum, [, count]) => sum + BigInt(count), 0n)
  find('failure-count').textContent = words(failures)
  find('exit-count').textContent = total.toLocaleString('en')
  find('delivered-count').textContent = words(delivered)
  find('lost-count').textContent = `${words(lost)} lost`
  find('lost-count').classList.toggle('some', lost !== '0x0')
  find('no-exits').hidden = counted.length > 0
  find('exits').replaceChildren(...counted.map(([name, count]) => counter(name, count)))
  find('others').replaceChildren(
    counter('console bytes lost', consoleBytesLost),
    counter('decisions asked for', decisions.asked),
    counter('decisions too late', decisions.late),
    counter('decisions by fallback', decisions.fallback),
  )
}

/** Where the VM is in its life. */
export function showState(state: VmState): void {
  const badge = find('vm-state')
  badge.textContent = state
  badge.className = `badge ${state}`
}

function counter(name: string, count: string): HTMLElement {
  return element('div', '', element('dt', '', name), element('dd', 'number', words(count)))
}

function words(count: string): string {
  return BigInt(count).toLocaleString('en')
}
