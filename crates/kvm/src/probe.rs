//! What this host can do, and why not more.

use std::fmt;

use crate::abi;

/// Whether memory errors reach the virtual machine monitor on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SupportStatus {
    /// KVM exits to user space for a memory error.
    Active,
    /// The capability is there, and the exit cannot occur: the host has no FEAT_RAS.
    Inert,
    /// No KVM for arm64 guests here, or a kernel without the capability.
    Unsupported,
}

/// One thing that stands between this host and full support.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// The machine is not an arm64 Linux machine.
    Platform {
        /// `std::env::consts::OS`.
        os: &'static str,
        /// `std::env::consts::ARCH`.
        arch: &'static str,
    },
    /// There is no `/dev/kvm`.
    NoDevice,
    /// `/dev/kvm` may not be opened.
    Permission,
    /// `/dev/kvm` cannot be opened for another reason.
    Open(i32),
    /// The KVM API is not version 12.
    ApiVersion(i32),
    /// A capability that every virtual machine of Seawall needs is missing.
    Capability {
        /// The kernel's name.
        name: &'static str,
        /// The kernel's number.
        number: u32,
    },
    /// The kernel has no `KVM_CAP_ARM_SEA_TO_USER`.
    NoSeaToUser,
    /// The host has no FEAT_RAS.
    NoRas,
    /// KVM offers no GICv3 to guests.
    NoGicV3,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform { os, arch } => {
                write!(f, "expected Linux on arm64 (aarch64) for KVM but received {os} on {arch}")
            }
            Self::NoDevice => f.write_str(
                "there is no /dev/kvm: the kernel was started without EL2 (in a virtual machine, nested virtualisation is \
                 off) or the device is not passed into this container",
            ),
            Self::Permission => f.write_str(
                "this user may not open /dev/kvm: add it to the group that owns the device (usually 'kvm') and log in \
                 again",
            ),
            Self::Open(errno) => write!(f, "/dev/kvm cannot be opened ({})", crate::Errno(*errno)),
            Self::ApiVersion(version) => write!(f, "expected KVM API version 12 but received {version}"),
            Self::Capability { name, number } => write!(f, "KVM has no {name} (capability {number})"),
            Self::NoSeaToUser => f.write_str(
                "the kernel has no KVM_CAP_ARM_SEA_TO_USER (capability 245): it needs Linux 6.19 or newer",
            ),
            Self::NoRas => f.write_str(
                "the CPUs have no FEAT_RAS (capability 158 is 0): KVM_CAP_ARM_SEA_TO_USER can be enabled, and no memory \
                 error will ever exit to user space",
            ),
            Self::NoGicV3 => f.write_str("the host has no GICv3, which a Linux guest of Seawall needs"),
        }
    }
}

/// Single facts about the host, each by its own question to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is the answer to its own question to the kernel"
)]
pub struct HostCapabilities {
    /// `KVM_CAP_ARM_SEA_TO_USER` (245).
    pub arm_sea_to_user: bool,
    /// FEAT_RAS, by `KVM_CAP_ARM_INJECT_SERROR_ESR` (158), the predicate KVM itself uses.
    pub ras: bool,
    /// `KVM_CAP_ARM_INJECT_EXT_DABT` (178).
    pub inject_ext_dabt: bool,
    /// `KVM_CAP_ARM_NISV_TO_USER` (177).
    pub nisv_to_user: bool,
    /// A userfaultfd with `UFFDIO_POISON` may be created.
    pub userfaultfd: bool,
    /// `MADV_HWPOISON` may be used: CONFIG_MEMORY_FAILURE and CAP_SYS_ADMIN.
    pub hwpoison: bool,
}

/// The answer of [`probe_host`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSupport {
    /// Whether memory errors reach the virtual machine monitor.
    pub status: SupportStatus,
    /// Why the status is not `Active`; empty where it is.
    pub obstacles: Vec<Obstacle>,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// The single facts.
    pub capabilities: HostCapabilities,
}

/// What stands in the way of the given capabilities: the status is a function of these facts alone.
pub(crate) fn classify(capabilities: HostCapabilities) -> (SupportStatus, Vec<Obstacle>) {
    if !capabilities.arm_sea_to_user {
        return (SupportStatus::Unsupported, vec![Obstacle::NoSeaToUser]);
    }
    if !capabilities.inject_ext_dabt {
        let obstacle = Obstacle::Capability {
            name: "KVM_CAP_ARM_INJECT_EXT_DABT",
            number: abi::KVM_CAP_ARM_INJECT_EXT_DABT,
        };
        return (SupportStatus::Unsupported, vec![obstacle]);
    }
    if !capabilities.ras {
        return (SupportStatus::Inert, vec![Obstacle::NoRas]);
    }
    (SupportStatus::Active, Vec::new())
}

/// Asks this host what it can do. Never fails: what cannot be asked is an obstacle.
///
/// ```
/// let support = seawall_kvm::probe_host();
/// assert_eq!(support.obstacles.is_empty(), support.status == seawall_kvm::SupportStatus::Active);
/// ```
#[must_use]
pub fn probe_host() -> HostSupport {
    let mut capabilities = HostCapabilities {
        userfaultfd: crate::host_facts::userfaultfd_can_poison(),
        hwpoison: crate::host_facts::hwpoison_allowed(),
        ..HostCapabilities::default()
    };
    let kernel = crate::host_facts::kernel_release();
    let (status, obstacles) = match crate::system::probe_kvm(&mut capabilities) {
        Ok(()) => classify(capabilities),
        Err(obstacle) => (SupportStatus::Unsupported, vec![obstacle]),
    };
    HostSupport {
        status,
        obstacles,
        kernel,
        capabilities,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(sea: bool, ras: bool, dabt: bool) -> (SupportStatus, Vec<Obstacle>) {
        classify(HostCapabilities {
            arm_sea_to_user: sea,
            ras,
            inject_ext_dabt: dabt,
            ..HostCapabilities::default()
        })
    }

    #[test]
    fn the_capability_without_ras_is_inert() {
        assert_eq!(
            host(true, false, true),
            (SupportStatus::Inert, vec![Obstacle::NoRas])
        );
    }

    #[test]
    fn an_old_kernel_is_unsupported_even_with_ras() {
        assert_eq!(
            host(false, true, true),
            (SupportStatus::Unsupported, vec![Obstacle::NoSeaToUser])
        );
    }

    #[test]
    fn everything_there_is_active() {
        assert_eq!(host(true, true, true), (SupportStatus::Active, Vec::new()));
    }

    #[test]
    fn without_injection_nothing_can_be_contained() {
        assert_eq!(host(true, true, false).0, SupportStatus::Unsupported);
    }
}
