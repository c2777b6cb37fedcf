import { checkBoolean, checkOneOf } from './checks.ts'
import { invalidOption } from './errors.ts'
import type { MemoryFailureEvent } from './events.ts'

/**
 * The data of QEMU's event `MEMORY_FAILURE`, since QEMU 5.2. On the wire it is the `data` of
 * `{ event: 'MEMORY_FAILURE', data, timestamp }`. Source: QEMU, `qapi/run-state.json`.
 */
export interface QmpMemoryFailure {
  /** Whose memory it is: the guest's, or the hypervisor's own. */
  recipient: 'hypervisor' | 'guest'
  /**
   * `ignore`: nothing has to be done. `inject`: the guest was told, with success. `fatal`: the VM cannot go on.
   * `reset`: QEMU resets a guest that was not ready for it; Seawall never does.
   */
  action: 'ignore' | 'inject' | 'fatal' | 'reset'
  /** What more is known. */
  flags: {
    /** The failure had to be dealt with before the vCPU went on. */
    'action-required': boolean
    /** It happened while the one before was being dealt with. */
    recursive: boolean
  }
}

/**
 * The arguments of libvirt's `virConnectDomainEventMemoryFailureCallback`, since libvirt 6.9.0: the event
 * `VIR_DOMAIN_EVENT_ID_MEMORY_FAILURE`, `memory-failure` in virsh. Source: libvirt, `include/libvirt/libvirt-domain.h`.
 */
export interface LibvirtMemoryFailure {
  /** `virDomainMemoryFailureRecipientType`: 0 hypervisor, 1 guest. */
  recipient: 0 | 1
  /** `virDomainMemoryFailureActionType`: 0 ignore, 1 inject, 2 fatal, 3 reset. */
  action: 0 | 1 | 2 | 3
  /** `virDomainMemoryFailureFlags`, or-ed: 1 action required, 2 recursive. */
  flags: number
}

const LIBVIRT_RECIPIENT = { hypervisor: 0, guest: 1 } as const
const LIBVIRT_ACTION = { ignore: 0, inject: 1, fatal: 2, reset: 3 } as const
const LIBVIRT_ACTION_REQUIRED = 1 << 0
const LIBVIRT_RECURSIVE = 1 << 1

/**
 * Says a memory failure in QEMU's words, for tools that know its `MEMORY_FAILURE`.
 *
 * | `action` | QMP |
 * | --- | --- |
 * | `ignore` | `ignore` |
 * | `inject`, `inject-serror` | `inject`; `fatal` where the injection failed, which ends the VM |
 * | `stop` | `fatal` |
 * | `pause`, `defer`, `resume` | none: `null` |
 *
 * `null`, because QEMU has no word for them, and `ignore` would say that nothing has to be done: the failure of `pause` and
 * `defer` is still to be settled, and a second event says how; that of `resume` was settled by replacing the page. QEMU's
 * event knows neither address nor vCPU. Unlike QEMU's, a `fatal` one may have the guest as its recipient.
 *
 * @throws {@link SeawallError} `ERR_INVALID_OPTION` for anything but a `memory-failure` event.
 */
export function toQmp(event: MemoryFailureEvent): QmpMemoryFailure | null {
  const { recipient, action, actionRequired, recursive } = toPeerFailure(event)
  return action && { recipient, action, flags: { 'action-required': actionRequired, recursive } }
}

/**
 * Says a memory failure in libvirt's numbers, for tools that know its `memory-failure` event. `null` where {@link toQmp}
 * has no words for it: libvirt's event is QEMU's, in numbers.
 *
 * @throws {@link SeawallError} `ERR_INVALID_OPTION` for anything but a `memory-failure` event.
 */
export function toLibvirt(event: MemoryFailureEvent): LibvirtMemoryFailure | null {
  const { recipient, action, actionRequired, recursive } = toPeerFailure(event)
  if (action === null) return null
  return {
    recipient: LIBVIRT_RECIPIENT[recipient],
    action: LIBVIRT_ACTION[action],
    flags: (actionRequired ? LIBVIRT_ACTION_REQUIRED : 0) | (recursive ? LIBVIRT_RECURSIVE : 0),
  }
}

interface PeerFailure {
  recipient: QmpMemoryFailure['recipient']
  /** `null` where the peers have no word for it. */
  action: QmpMemoryFailure['action'] | null
  actionRequired: boolean
  recursive: boolean
}

const ACTIONS = ['ignore', 'inject', 'inject-serror', 'defer', 'pause', 'stop', 'resume'] as const

/** What the peers say of a failure. Checked: an event may come from JSON, and from another version. */
function toPeerFailure(value: MemoryFailureEvent): PeerFailure {
  const event: unknown = value
  if (typeof event !== 'object' || event === null || !('type' in event) || event.type !== 'memory-failure')
    throw invalidOption('an event of the type memory-failure', 'event', event)
  const { recipient, action, injection, flags } = event as { [Name in keyof MemoryFailureEvent]?: unknown }
  const { actionRequired, recursive } = (flags ?? {}) as { actionRequired?: unknown; recursive?: unknown }
  return {
    recipient: checkOneOf(recipient, ['hypervisor', 'guest'], 'event.recipient'),
    action: toPeerAction(checkOneOf(action, ACTIONS, 'event.action'), injection),
    actionRequired: checkBoolean(actionRequired, 'event.flags.actionRequired'),
    recursive: checkBoolean(recursive, 'event.flags.recursive'),
  }
}

function toPeerAction(action: MemoryFailureEvent['action'], injection: unknown): PeerFailure['action'] {
  switch (action) {
    case 'ignore':
      return 'ignore'
    case 'inject':
    case 'inject-serror':
      return (injection as MemoryFailureEvent['injection'] | undefined)?.result === 'ok' ? 'inject' : 'fatal'
    case 'stop':
      return 'fatal'
    case 'pause':
    case 'defer':
    case 'resume':
      return null
  }
}
