//! The KVM system, VM and vCPU file descriptors: real ones on arm64 Linux, elsewhere the same names that say no.

#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
mod linux_arm64;
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
pub(crate) use linux_arm64::probe_kvm;
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
pub use linux_arm64::{Vcpu, VmFd};

#[cfg(not(all(target_os = "linux", target_arch = "aarch64")))]
mod unsupported;
#[cfg(not(target_os = "linux"))]
pub use unsupported::Quarantine;
#[cfg(not(all(target_os = "linux", target_arch = "aarch64")))]
pub(crate) use unsupported::probe_kvm;
#[cfg(not(all(target_os = "linux", target_arch = "aarch64")))]
pub use unsupported::{Vcpu, VmFd};

/// What a virtual machine asks KVM for before its first vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmConfig {
    /// Enable `KVM_CAP_ARM_SEA_TO_USER`: memory errors exit instead of becoming an SError in the guest.
    pub arm_sea_to_user: bool,
    /// Enable `KVM_CAP_ARM_NISV_TO_USER`.
    pub arm_nisv_to_user: bool,
}

/// Whether a vCPU runs at once, or waits for another one to start it by PSCI CPU_ON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerState {
    /// Runs from its first `KVM_RUN`.
    On,
    /// Waits inside `KVM_RUN`.
    Off,
}
