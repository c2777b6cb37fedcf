//! Exceptions to make pending on a vCPU, the arguments of `KVM_SET_VCPU_EVENTS`.

/// What to inject. The kernel commits it at once: the registers are those of the handler when the call returns.
///
/// Source: `struct kvm_vcpu_events`, arm64 asm/kvm.h; KVM api.rst 4.32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VcpuEvents {
    /// `ext_dabt_pending`: an external data abort at the address of the last abort.
    ExternalDataAbort,
    /// `serror_pending`, with the ISS (bits 24:0) where the host has FEAT_RAS.
    SError {
        /// The syndrome the guest is to read; `None` leaves it implementation defined.
        iss: Option<u32>,
    },
}

/// What `KVM_GET_VCPU_EVENTS` says is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PendingEvents {
    /// An SError waits for the guest to unmask it.
    pub serror: bool,
    /// Its ISS, where the host has FEAT_RAS.
    pub serror_iss: Option<u32>,
}
