import type { Json, Messages } from '../wire.js'
import { ConsoleView } from './console-view.js'
import { showCounters, showState } from './counters.js'
import { element, find } from './elements.js'
import { FailureList } from './failure-list.js'
import { PageMap } from './page-map.js'
import { type Connection, listen } from './stream.js'
import { Timeline } from './timeline.js'

const screen = new ConsoleView()
const failures = new FailureList()
const map = new PageMap()
const timeline = new Timeline()

const STALE =
  'The connection is lost. What is shown may be out of date; it goes on when the tool answers again.'

/** How many events this page was not told. */
let lostEvents = 0

const CONNECTIONS: Readonly<Record<Connection, string>> = {
  connecting: 'connecting',
  live: 'live',
  lost: 'connection lost, trying again',
  ended: 'ended',
}

listen(
  {
    hello: ({ vm, vcpus, ram, resumed }) => {
      if (resumed) return
      find('vm-name').textContent = vm.name ?? 'unnamed guest'
      find('vm-id').textContent = vm.id
      find('vm-vcpus').textContent = `${vcpus} ${vcpus === 1 ? 'vCPU' : 'vCPUs'}`
      document.title = `${vm.name ?? vm.id} · Seawall`
      screen.clear()
      failures.clear()
      timeline.clear()
      map.begin(ram)
      lostEvents = 0
      showLoss()
      find('ending').hidden = true
      find('simulated').hidden = true
    },
    event: show,
    console: ({ text }) => screen.write(text),
    lost: ({ events, characters }) => {
      if (characters > 0) screen.lose(characters)
      lostEvents += events
      showLoss()
    },
    pages: ({ pages }) => map.replace(pages),
    now: ({ state, stats }) => {
      showState(state)
      showCounters(stats)
    },
    bye: () => screen.end(),
  },
  (connection) => {
    const stale = find('stale')
    stale.hidden = connection !== 'lost'
    stale.textContent = stale.hidden ? '' : STALE
    const badge = find('connection')
    badge.className = `connection ${connection}`
    if (badge.textContent !== CONNECTIONS[connection]) badge.textContent = CONNECTIONS[connection]
  },
)

function show(message: Json<Messages['event']>): void {
  const { event, words } = message
  switch (event.type) {
    case 'memory-failure': {
      const { page, time, source, backend } = event
      failures.add(message, event)
      if (page !== null) map.hit(page, { firstSeen: time, source })
      find('simulated').hidden = backend !== 'simulated'
      announce(words)
      return
    }
    case 'page-state-changed':
      map.set(event.page)
      break
    case 'exit': {
      const ending = find('ending')
      ending.className = `banner ${event.exit.reason}`
      ending.replaceChildren(
        element('strong', '', words.charAt(0).toUpperCase() + words.slice(1)),
        event.exit.vcpu === null ? '' : ` (vCPU ${event.exit.vcpu})`,
      )
      ending.hidden = false
      announce(words)
    }
  }
  timeline.add(event.time, words, event.type)
}

/** Once for all of a storm, which is lost piece by piece. */
function showLoss(): void {
  const notice = find('not-told')
  notice.hidden = lostEvents === 0
  notice.textContent = `${lostEvents.toLocaleString('en')} events came before this page was open, or faster than it is told. They are counted above and not listed here.`
}

let announced: string | undefined

/** Says something to who cannot see it. Only the newest, and not more than one a second: a storm would never end. */
function announce(words: string): void {
  const waits = announced !== undefined
  announced = words
  if (waits) return
  setTimeout(() => {
    find('announcer').textContent = announced ?? ''
    announced = undefined
  }, 1000)
}
