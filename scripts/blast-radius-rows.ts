/** What a victim does with the page it loses. */
export type Use = 'load' | 'fetch' | 'write'

/** Processes of the guest that lose pages at the same moment, each its own. */
export interface Victims {
  readonly use: Use
  readonly processes: number
  /** How many pages each loses; it uses the first. */
  readonly pages: number
  /** Among how many pages of each they are chosen, at random. */
  readonly among: number
}

/** One run of the experiment: how the victims use the pages they lose, and who takes the error. */
export interface Row {
  readonly id: string
  /** Who takes the error, as the tables say it. */
  readonly who: string
  /** What the victims do, as the tables say it. */
  readonly what: string
  /** One after the other. */
  readonly victims: readonly Victims[]
  /** Whether Seawall asks the kernel for the exit (`capabilities.armSeaToUser`). */
  readonly armSeaToUser: boolean
  /** How the guest is told which page is lost (`memoryFailure.notifyGuest`). By its agent it boots without ACPI. */
  readonly notifyGuest: 'ghes' | 'agent' | 'none'
  /** Whether the monitor's owner knows of the pages first (`vm.reportPoison`), and nothing is consumed. */
  readonly inAdvance: boolean
  /** How many pages anywhere in the guest's RAM are reported first, chosen at random. */
  readonly strewn: number
  readonly vcpus: number
  /** Version of the guest's kernel; null is the host's own. */
  readonly kernel: string | null
}

const USES = ['load', 'fetch', 'write'] as const
/** The kernel of Debian's stable release, as a guest. */
const STABLE = '6.12'
/** The guest: enough memory to boot in, and no more, because emulated memory is slow. */
export const GUEST_MEMORY_MIB = 160
/** Where a row does not say how many. */
export const VCPUS = 2

const one = { processes: 1, pages: 1, among: 1 } as const
const SEAWALL = {
  who: 'Seawall',
  armSeaToUser: true,
  notifyGuest: 'ghes',
  inAdvance: false,
  strewn: 0,
  vcpus: VCPUS,
  kernel: null,
} as const
const ADVANCE = { ...SEAWALL, who: 'Seawall, in advance', inAdvance: true } as const
const AGENT = { ...SEAWALL, who: 'Seawall, guest with agent', notifyGuest: 'agent' } as const
const UNTOLD = { ...SEAWALL, who: 'Seawall, guest not told', notifyGuest: 'none' } as const
const KVM = { ...SEAWALL, who: 'KVM alone', armSeaToUser: false } as const

/** A victim with a page. */
function single(use: Use): Pick<Row, 'what' | 'victims'> {
  return { what: use, victims: [{ use, ...one }] }
}

const PAIR = { what: 'load by 2 at once', victims: [{ use: 'load', ...one, processes: 2 }] } as const

const SIXTEEN = {
  what: 'load by 16 at once',
  victims: [{ use: 'load', ...one, processes: 16 }],
} as const

/** The whole matrix. */
export const ROWS: readonly Row[] = [
  ...USES.map((use) => ({ id: `seawall-${use}`, ...SEAWALL, ...single(use) })),
  { id: 'seawall-pair', ...SEAWALL, ...PAIR },
  { id: 'seawall-sixteen', ...SEAWALL, ...SIXTEEN },
  {
    id: 'seawall-twenty',
    ...SEAWALL,
    what: 'load, fetch and write by 20 in turn',
    victims: Array.from({ length: 20 }, (_, index) => ({ use: USES[index % 3] ?? 'load', ...one })),
  },
  ...[1, 4].flatMap((vcpus) =>
    (['load', 'write'] as const).map((use) => ({
      id: `seawall-${use}-${vcpus}`,
      ...SEAWALL,
      who: `Seawall, ${vcpus} vCPU${vcpus === 1 ? '' : 's'}`,
      ...single(use),
      vcpus,
    })),
  ),
  ...(['load', 'write'] as const).map((use) => ({
    id: `stable-${use}`,
    ...SEAWALL,
    who: `Seawall, guest with ${STABLE}`,
    ...single(use),
    kernel: STABLE,
  })),
  ...(['load', 'write'] as const).map((use) => ({ id: `agent-${use}`, ...AGENT, ...single(use) })),
  ...USES.map((use) => ({ id: `advance-${use}`, ...ADVANCE, ...single(use) })),
  {
    id: 'advance-sixteen',
    ...ADVANCE,
    what: 'load, 16 pages lost',
    victims: [{ use: 'load', ...one, pages: 16, among: 16 }],
  },
  {
    id: 'advance-hundred',
    ...ADVANCE,
    what: 'load, 100 random pages lost',
    victims: [{ use: 'load', ...one, pages: 100, among: 8192 }],
  },
  { id: 'advance-anywhere', ...ADVANCE, what: '100 pages anywhere', victims: [], strewn: 100 },
  ...USES.map((use) => ({ id: `untold-${use}`, ...UNTOLD, ...single(use) })),
  { id: 'untold-pair', ...UNTOLD, ...PAIR },
  { id: 'untold-sixteen', ...UNTOLD, ...SIXTEEN },
  {
    id: 'untold-advance',
    ...UNTOLD,
    who: 'Seawall, in advance, guest not told',
    ...single('load'),
    inAdvance: true,
  },
  ...USES.map((use) => ({ id: `kvm-${use}`, ...KVM, ...single(use) })),
]

/** One row of each class: an application consumes the error, the guest's kernel does, the guest is not told, nobody takes the exit. */
export const CLASSES: readonly Row[] = ROWS.filter(({ id }) =>
  ['seawall-load', 'seawall-write', 'untold-load', 'kvm-load'].includes(id),
)

/** The fixed amount of work: so many programs are started, and then on each CPU a process uses nearly all free memory. */
export const FORKS = 50

/** How many processes that is. */
export function processesOfWork({ vcpus }: Pick<Row, 'vcpus'>): number {
  return FORKS + vcpus
}
