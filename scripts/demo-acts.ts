/** One act of the demo: a guest that touches a bad page once, what the injector makes of it, and what must come of it. */
export interface Act {
  readonly id: string
  readonly title: string
  /** The micro-guest: the name of a file in __test__/guests. */
  readonly guest: string
  /** Fields of the injector's rule, beside the page. See lab/sea-inject/README.md. */
  readonly rule: string
  readonly access: {
    readonly mode: 'user' | 'kernel'
    readonly instruction: string
    readonly verb: 'reads' | 'writes'
    /** Where the guest's source says it goes. */
    readonly address: bigint
  }
  readonly exit: { readonly esr: bigint; readonly gva: bigint | null; readonly gpa: bigint | null }
  /** What the guest's handler reads when KVM injects the abort and nobody helps. */
  readonly kvmAlone: { readonly esr: bigint; readonly far: bigint }
  /** The same with Seawall. */
  readonly restored: { readonly esr: bigint; readonly far: bigint }
  /** The syndrome's fields that the second has and the first has not, high bits first. */
  readonly restoredFields: readonly string[]
  readonly vector: bigint
  /** What the guest prints of its own after the handler has returned. */
  readonly afterwards: readonly string[]
}

/** The page that goes bad, in every act. */
export const BAD_PAGE = 0x8010_0000n
export const PAGE_SIZE = 0x1000n

/** Where every micro-guest is loaded, and entered. */
export const LOAD_ADDRESS = 0x8000_0000n

/** The acts of `--micro`, in order. */
export const MICRO_ACTS: readonly Act[] = [
  {
    id: 'user-read',
    title: 'An application reads from the bad page, and the CPU cannot say where',
    guest: 'read-el0',
    // FAR_EL2 then holds an address of somebody else, as real hardware was seen to leave there.
    rule: 'fsc=0x10 set=3 fnv=1 ea=1 far=0xaaaadf254828',
    access: { mode: 'user', instruction: 'ldr x4, [x3]', verb: 'reads', address: 0x8010_0010n },
    exit: { esr: 0x9200_1e10n, gva: null, gpa: null },
    kvmAlone: { esr: 0x9200_0010n, far: 0xaaaa_df25_4828n },
    restored: { esr: 0x9200_1e10n, far: 0n },
    restoredFields: ['SET', 'FnV', 'EA'],
    vector: 0x400n,
    afterwards: ['value=0x0000000000005eed', 'done'],
  },
  {
    id: 'kernel-write',
    title: 'A guest kernel writes to the bad page, and the CPU knows where',
    guest: 'write-el1',
    rule: 'fsc=0x10 set=0 fnv=0 ea=1',
    access: { mode: 'kernel', instruction: 'str x0, [x1]', verb: 'writes', address: 0x8010_0010n },
    exit: { esr: 0x9200_0250n, gva: 0x8010_0010n, gpa: 0x8010_0000n },
    kvmAlone: { esr: 0x9600_0010n, far: 0x8010_0010n },
    restored: { esr: 0x9600_0250n, far: 0x8010_0010n },
    restoredFields: ['EA', 'WnR'],
    vector: 0x200n,
    afterwards: ['done'],
  },
]
