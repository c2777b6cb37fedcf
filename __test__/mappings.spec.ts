import test from 'ava'
import {
  type LibvirtMemoryFailure,
  type MemoryFailureEvent,
  type QmpMemoryFailure,
  toLibvirt,
  toQmp,
} from 'seawall'
import { fullFailure } from './event-examples.ts'

/** Every action, and what QEMU and libvirt call it. A new action is an error here until it is decided what they call it. */
const ACTIONS: Record<MemoryFailureEvent['action'], null | [QmpMemoryFailure['action'], number]> = {
  ignore: ['ignore', 0],
  inject: ['inject', 1],
  'inject-serror': ['inject', 1],
  stop: ['fatal', 2],
  defer: null,
  pause: null,
  resume: null,
}

const RECIPIENTS: Record<MemoryFailureEvent['recipient'], number> = { hypervisor: 0, guest: 1 }

for (const [action, peer] of Object.entries(ACTIONS) as [
  MemoryFailureEvent['action'],
  (typeof ACTIONS)[MemoryFailureEvent['action']],
][]) {
  test(`${action} is ${peer === null ? 'nothing' : peer[0]} to QEMU and libvirt`, (t) => {
    for (const [recipient, number] of Object.entries(RECIPIENTS)) {
      for (const actionRequired of [false, true]) {
        for (const recursive of [false, true]) {
          const event = {
            ...fullFailure,
            action,
            recipient,
            flags: { actionRequired, recursive },
          } as MemoryFailureEvent
          t.deepEqual<unknown, unknown>(
            toQmp(event),
            peer && { recipient, action: peer[0], flags: { 'action-required': actionRequired, recursive } },
          )
          t.deepEqual<unknown, unknown>(
            toLibvirt(event),
            peer && {
              recipient: number,
              action: peer[1],
              flags: (actionRequired ? 1 : 0) + (recursive ? 2 : 0),
            },
          )
        }
      }
    }
  })
}

for (const [what, injection] of [
  ['that failed', { method: 'none', esr: null, result: 'error', errno: 'EINVAL' }],
  ['that did not come to pass', null],
] as const) {
  test(`an injection ${what} is fatal`, (t) => {
    for (const action of ['inject', 'inject-serror'] as const) {
      const event: MemoryFailureEvent = { ...fullFailure, action, injection }
      t.is(toQmp(event)?.action, 'fatal')
      t.is(toLibvirt(event)?.action, 2)
    }
  })
}

test("JSON of QMP's data is what a QMP client reads", (t) => {
  t.is(
    JSON.stringify(toQmp(fullFailure)),
    '{"recipient":"guest","action":"inject","flags":{"action-required":true,"recursive":false}}',
  )
  const flags: LibvirtMemoryFailure = { recipient: 1, action: 1, flags: 1 }
  t.deepEqual(toLibvirt(fullFailure), flags)
})
