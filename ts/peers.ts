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
 */
export function toQmp(event: MemoryFailureEvent): QmpMemoryFailure | null {
  const action = toPeerAction(event)
  if (action === null) return null
  const { recipient, flags } = event
  return { recipient, action, flags: { 'action-required': flags.actionRequired, recursive: flags.recursive } }
}

/**
 * Says a memory failure in libvirt's numbers, for tools that know its `memory-failure` event. `null` where {@link toQmp}
 * has no words for it: libvirt's event is QEMU's, in numbers.
 */
export function toLibvirt(event: MemoryFailureEvent): LibvirtMemoryFailure | null {
  const action = toPeerAction(event)
  if (action === null) return null
  const { actionRequired, recursive } = event.flags
  return {
    recipient: LIBVIRT_RECIPIENT[event.recipient],
    action: LIBVIRT_ACTION[action],
    flags: (actionRequired ? LIBVIRT_ACTION_REQUIRED : 0) | (recursive ? LIBVIRT_RECURSIVE : 0),
  }
}

function toPeerAction({ action, injection }: MemoryFailureEvent): QmpMemoryFailure['action'] | null {
  switch (action) {
    case 'ignore':
      return 'ignore'
    case 'inject':
    case 'inject-serror':
      return injection?.result === 'ok' ? 'inject' : 'fatal'
    case 'stop':
      return 'fatal'
    case 'pause':
    case 'defer':
    case 'resume':
      return null
  }
}
