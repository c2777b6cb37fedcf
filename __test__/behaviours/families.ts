import type { MemoryFailureEvent, SimulatedStep } from 'seawall'
import { type Behaviour, done, exception, type Like, PAGE, ready, shutdown } from './behaviour.ts'
import { taken } from './quarantine.ts'

// Every synchronous external abort there is: fault status by access by exception level, and for the fault statuses that
// say more, severity by FnV by EA by whether the page is known. What must come out is computed here from the layout in the
// Arm ARM (ESR_ELx, ISS encodings of data and instruction aborts), not by Seawall's own decoder.

const PAGE_SIZE = 0x1000n
/** What FAR_EL2 holds where FnV says that it is not valid. */
const GARBAGE = 0xdead_beefn

/** EC of an abort from a lower exception level; one more is the same from the current one. */
const EC = { data: 0x24n, instruction: 0x20n }
const IL = 1n << 25n
const FNV = 1n << 10n
const EA = 1n << 9n
const CM = 1n << 8n
const WNR = 1n << 6n

/** What the processor says of an error, whatever the access was. */
interface Report {
  faultStatus: number
  /** ISS.SET, bits 12:11, which fault status 0x10 alone has. */
  set?: number
  fnv?: boolean
  ea?: boolean
  /** Whether it says which page. Default: what hardware does, not on a table walk and not at 0x10 with FnV. */
  gpa?: boolean
}

interface Access {
  name: string
  /** Whether EL0 or EL1 makes it. */
  user: boolean
  kind: 'data' | 'instruction'
  write: boolean | null
  cacheMaintenance: boolean
  /** Where in its page. */
  offset: bigint
}

const accesses: Access[] = [false, true].flatMap((user) => {
  const level = user ? 'EL0' : 'EL1'
  const data = { user, kind: 'data', cacheMaintenance: false, offset: 0x10n } as const
  return [
    { ...data, name: `a read at ${level}`, write: false },
    { ...data, name: `a write at ${level}`, write: true },
    // Cache maintenance counts as a write.
    { ...data, name: `cache maintenance at ${level}`, write: true, cacheMaintenance: true, offset: 0n },
    { ...data, name: `a fetch at ${level}`, kind: 'instruction', write: null, offset: 0n },
  ]
})

const SETS = ['uer', 'reserved', 'uc', 'ueo'] as const
/** IFSC and DFSC of the aborts on a table walk at level -1; the next ones are those at level 0 to 3. */
const WALK = 0x13
const PARITY_WALK = 0x1b

const isWalk = (faultStatus: number) => ![0x10, 0x18].includes(faultStatus)
const isParity = (faultStatus: number) => faultStatus >= 0x18

function knowsPage({ faultStatus, fnv = false, gpa = true }: Report): boolean {
  return gpa && !isWalk(faultStatus) && !(faultStatus === 0x10 && fnv)
}

/** The ISS that both the host and the guest are to read. */
function iss({ faultStatus, set = 0, fnv = false, ea = false }: Report, access: Access): bigint {
  return (
    (BigInt(set) << 11n) |
    (fnv ? FNV : 0n) |
    (ea ? EA : 0n) |
    (access.cacheMaintenance ? CM : 0n) |
    (access.write === true ? WNR : 0n) |
    BigInt(faultStatus)
  )
}

/** ESR_EL2 at the exit. */
function exitEsr(report: Report, access: Access): bigint {
  return (EC[access.kind] << 26n) | IL | iss(report, access)
}

/** ESR_EL1 in the guest's handler: the same, but that an abort of EL1 itself is one from the current exception level. */
function guestEsr(report: Report, access: Access): bigint {
  return exitEsr(report, access) | (access.user ? 0n : 1n << 26n)
}

const pstate = ({ user }: Access) => (user ? 0x2c0n : 0x2c5n)

function gva({ fnv = false }: Report, page: bigint, access: Access): bigint | null {
  return fnv ? null : page + access.offset
}

/** What the event must say, but for what was done. */
function consumed(report: Report, page: bigint, access: Access): Like<MemoryFailureEvent> {
  const { faultStatus, set = 0, ea = false } = report
  const base = isParity(faultStatus) ? PARITY_WALK : WALK
  const known = knowsPage(report)
  return {
    source: 'sea',
    vcpu: 0,
    signal: null,
    abort: {
      kind: access.kind,
      esr: exitEsr(report, access),
      exceptionClass: Number(EC[access.kind]),
      faultStatus,
      cause: `${isParity(faultStatus) ? 'parity-ecc' : 'external'}${isWalk(faultStatus) ? '-table-walk' : ''}`,
      walkLevel: isWalk(faultStatus) ? faultStatus - base - 1 : null,
      set: (faultStatus === 0x10 ? SETS[set] : undefined) ?? 'unknown',
      write: access.write,
      cacheMaintenance: access.cacheMaintenance,
      externalType: ea,
    },
    gva: gva(report, page, access),
    gpa: known ? page : null,
    consumer: { mode: access.user ? 'user' : 'kernel', pstate: pstate(access) },
    page: known ? { gpa: page, size: 4096, first: true, hits: 1, state: 'quarantined' } : null,
    quarantine: known ? taken : null,
    recipient: 'guest',
    flags: { actionRequired: true, recursive: false },
    decidedBy: 'policy',
  }
}

function rule(report: Report, access: Access): string {
  const { faultStatus, set = 0, fnv = false, ea = false } = report
  const far = fnv ? ` far=0x${GARBAGE.toString(16)}` : ''
  const bits = `fsc=0x${faultStatus.toString(16)} set=${set} fnv=${Number(fnv)} ea=${Number(ea)}`
  // QEMU reports cache maintenance as a read; hardware says what it is.
  return `${bits} gpa=${Number(knowsPage(report))}${far}${access.cacheMaintenance ? ' cm=1' : ''}`
}

function sea(report: Report, page: bigint, access: Access): SimulatedStep {
  return {
    step: 'sea',
    esr: exitEsr(report, access),
    far: gva(report, page, access) ?? GARBAGE,
    gpa: knowsPage(report) ? page : null,
    pc: 0x8000_0040n,
    pstate: pstate(access),
  }
}

/** All accesses, each of which consumes an error that is reported like this and gets it as its own abort. */
function contained(name: string, report: Report): Behaviour {
  const rows = accesses.map((access, index) => ({ access, page: PAGE + BigInt(index) * PAGE_SIZE }))
  return {
    name: `${name}: every access at EL0 and EL1 gets its own abort`,
    guest: 'accesses',
    arm: rows.map(({ access }) => rule(report, access)),
    script: [[ready, ...rows.flatMap(({ access, page }) => [sea(report, page, access), exception]), ...done]],
    exit: shutdown,
    rows: rows.map(({ access }) => access.name),
    failures: rows.map(({ access, page }, index) => {
      // All that KVM writes by itself is a data abort with nothing but its fault status, 0x10.
      const bare = access.kind === 'data' && iss(report, access) === 0x10n
      return {
        ...consumed(report, page, access),
        severity: 'recoverable',
        action: 'inject',
        injection: {
          method: bare ? 'vcpu-events' : 'vcpu-events+registers',
          esr: guestEsr(report, access),
          result: 'ok',
        },
        ledger: { distinctPages: knowsPage(report) ? index + 1 : 0, total: index + 1 },
      }
    }),
    exceptions: rows.map(({ access, page }) => ({
      vector: access.user ? 0x400n : 0x200n,
      esr: guestEsr(report, access),
      far: gva(report, page, access) ?? 0n,
      spsr: pstate(access),
    })),
    lines: ['ready', 'done'],
  }
}

/** One access that consumes an error which nobody can contain. */
function stopped(name: string, report: Report, access: Access): Behaviour {
  return {
    name: `${name}: ${access.name} stops the VM`,
    guest: `${access.kind === 'data' ? 'read' : 'fetch'}-${access.user ? 'el0' : 'el1'}`,
    arm: rule(report, access),
    script: [[ready, sea(report, PAGE, access), exception, ...done]],
    exit: { reason: 'policy', vcpu: 0 },
    failures: [
      {
        ...consumed(report, PAGE, access),
        severity: 'fatal',
        action: 'stop',
        injection: null,
        ledger: { distinctPages: knowsPage(report) ? 1 : 0, total: 1 },
      },
    ],
    exceptions: [],
    lines: ['ready'],
  }
}

const hex = (faultStatus: number) => `fault status 0x${faultStatus.toString(16)}`

const statuses = [0x10, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f]
const byStatus = statuses.map((faultStatus) => contained(hex(faultStatus), { faultStatus }))

/** The page that the processor does not name, the address that it does not know, and both. */
const unknown: (Omit<Report, 'faultStatus'> & { words: string })[] = [
  { words: '' },
  { words: ', no page', gpa: false },
  { words: ', FnV', fnv: true },
]

const bySeverity = SETS.flatMap((word, set) =>
  unknown.flatMap(({ words, ...report }) =>
    [false, true].flatMap((ea): Behaviour[] => {
      const name = `SET ${word}${words}${ea ? ', EA' : ''}`
      const whole = { faultStatus: 0x10, set, ea, ...report }
      if (word === 'uer' || word === 'ueo') return [contained(name, whole)]
      return accesses.filter(({ write }) => write !== true).map((access) => stopped(name, whole, access))
    }),
  ),
)

/** A parity or ECC error is the one that may name the page although the address is not known. */
const byKnowledge = [
  { words: ', FnV', fnv: true },
  { words: ', no page', gpa: false },
  { words: ', FnV, no page', fnv: true, gpa: false },
].map(({ words, ...report }) => contained(`${hex(0x18)}${words}`, { faultStatus: 0x18, ea: true, ...report }))

/** One behaviour per report of the processor, and per access where the VM stops at the first. */
export const families: Behaviour[] = [...byStatus, ...bySeverity, ...byKnowledge]
