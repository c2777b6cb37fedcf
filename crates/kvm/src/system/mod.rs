//! The KVM system, VM and vCPU file descriptors: real ones on arm64 Linux, elsewhere the same names that say no.

#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
mod linux_arm64;
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
pub(crate) use linux_arm64::probe_kvm;
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
pub use linux_arm64::{Gic, Irqfd, Vcpu, VmFd};

#[cfg(not(all(target_os = "linux", target_arch = "aarch64")))]
mod unsupported;
#[cfg(not(target_os = "linux"))]
pub use unsupported::Quarantine;
#[cfg(not(all(target_os = "linux", target_arch = "aarch64")))]
pub(crate) use unsupported::probe_kvm;
#[cfg(not(all(target_os = "linux", target_arch = "aarch64")))]
pub use unsupported::{Gic, Irqfd, Vcpu, VmFd};

/// What a virtual machine asks KVM for before its first vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmConfig {
    /// Enable `KVM_CAP_ARM_SEA_TO_USER`: memory errors exit instead of becoming an SError in the guest.
    pub arm_sea_to_user: bool,
    /// Enable `KVM_CAP_ARM_NISV_TO_USER`.
    pub arm_nisv_to_user: bool,
}

/// Where the interrupt controller lies in the guest-physical address space, and how much of it there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GicConfig {
    /// The Distributor, 64 KiB; aligned to 64 KiB.
    pub distributor: u64,
    /// The Redistributors, 128 KiB for each vCPU, one after the other; aligned to 64 KiB.
    pub redistributors: u64,
    /// How many interrupts, the 32 private ones included: a multiple of 32 from 64 to 992.
    pub interrupts: u32,
}

/// Whether a vCPU runs at once, or waits for another one to start it by PSCI CPU_ON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerState {
    /// Runs from its first `KVM_RUN`.
    On,
    /// Waits inside `KVM_RUN`.
    Off,
}
