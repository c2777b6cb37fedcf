import { loadNative } from './native.ts'

/** What a host can do for the containment of memory errors, and why not more. */
export interface HostSupport {
  /**
   * `active`: memory errors exit to Seawall. `inert`: the kernel has the capability, and the processors no FEAT_RAS, so that
   * no memory error will ever exit. `unsupported`: no arm64 KVM, or a kernel before Linux 6.19.
   */
  status: 'active' | 'inert' | 'unsupported'
  /** Why the status is not `active`, in sentences that say what to change; empty where it is. */
  reasons: string[]
  /** The kernel's release, as `uname -r` prints it. */
  kernel: string
  /** The single facts. */
  capabilities: {
    /** `KVM_CAP_ARM_SEA_TO_USER` (245). */
    armSeaToUser: boolean
    /** FEAT_RAS, by `KVM_CAP_ARM_INJECT_SERROR_ESR` (158). */
    ras: boolean
    /** `KVM_CAP_ARM_INJECT_EXT_DABT` (178). */
    injectExtDabt: boolean
    /** `KVM_CAP_ARM_NISV_TO_USER` (177). */
    nisvToUser: boolean
    /** A userfaultfd that knows `UFFDIO_POISON` may be created. */
    userfaultfd: boolean
    /** `MADV_HWPOISON` may be used. */
    hwpoison: boolean
  }
}

/**
 * Asks this host what it can do.
 *
 * @example
 * ```ts
 * import { probeHost } from 'seawall'
 *
 * const { status, reasons } = probeHost()
 * if (status !== 'active') console.error(`${status}: ${reasons.join('; ')}`)
 * ```
 *
 * @throws {@link SeawallError} `ERR_NATIVE_MISSING` where no addon loads.
 */
export function probeHost(): HostSupport {
  return loadNative().probeHost()
}
