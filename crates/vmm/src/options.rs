//! What a virtual machine is made of.

use std::path::PathBuf;
use std::time::Duration;

use seawall_kvm::{HugePage, host_page_size};

use crate::error::VmError;
use crate::sea::{MemoryFailurePolicy, NotifyGuest};
use crate::simulated::Script;

/// The most vCPUs one virtual machine may have: what an arm64 KVM with GICv3 supports.
pub const MAX_VCPUS: u32 = 512;

/// Everything [`crate::Vm::create`] needs to know. There are no defaults here: the caller decides.
#[derive(Debug, Clone)]
pub struct VmOptions {
    /// A name for machines, in every event.
    pub id: String,
    /// A name for people.
    pub name: Option<String>,
    /// The size of guest RAM in bytes, a non-zero multiple of the size of its pages.
    pub memory: u64,
    /// The size of the pages that guest RAM is made of, where they are not the host's ordinary ones.
    pub huge_page: Option<HugePage>,
    /// How many vCPUs, 1 to [`MAX_VCPUS`]. All but the first wait for PSCI CPU_ON.
    pub vcpus: u32,
    /// What runs the vCPUs.
    pub backend: BackendOptions,
    /// What the guest starts with.
    pub boot: Boot,
    /// What happens when the guest resets itself.
    pub on_reset: OnReset,
    /// Enable `KVM_CAP_ARM_SEA_TO_USER`.
    pub arm_sea_to_user: bool,
    /// Enable `KVM_CAP_ARM_NISV_TO_USER`.
    pub arm_nisv_to_user: bool,
    /// What to do with a memory error.
    pub memory_failure: MemoryFailurePolicy,
    /// How long a vCPU waits when the owner is asked what to do with a memory error.
    pub decision_timeout: Duration,
    /// What to do with an access to where nothing is.
    pub unclaimed_access: UnclaimedAccessPolicy,
    /// Leave what may be the guest's addresses out of errors. What leaves them out of events is whoever tells those.
    pub redact: bool,
}

/// What to do with an access to a guest-physical address that no device claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnclaimedAccessPolicy {
    /// Inject an external abort, as on a machine without a device there.
    Abort,
    /// Stop the virtual machine.
    Stop,
    /// Let a load read zero and a store do nothing. An access without a syndrome gets the abort all the same: nobody knows
    /// which register it loads.
    ReadZero,
}

/// What runs the vCPUs.
#[derive(Debug, Clone)]
pub enum BackendOptions {
    /// The kernel.
    Kvm,
    /// A script that behaves as the kernel and a guest would.
    Simulated(Script),
}

impl BackendOptions {
    pub(crate) const fn kind(&self) -> BackendKind {
        match self {
            Self::Kvm => BackendKind::Kvm,
            Self::Simulated(_) => BackendKind::Simulated,
        }
    }
}

/// Which backend a fact comes from. Every event says it, so that a simulation never passes for the real thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendKind {
    /// The kernel.
    Kvm,
    /// The simulator.
    Simulated,
}

/// What the guest starts with.
#[derive(Debug, Clone)]
pub enum Boot {
    /// A flat binary, entered at EL1h with the MMU off and all exceptions masked.
    Flat {
        /// The bytes, or where to read them.
        image: Image,
        /// Where they go; the start of RAM where absent.
        load_address: Option<u64>,
        /// The first instruction; the load address where absent.
        entry: Option<u64>,
    },
    /// A Linux kernel.
    Linux(LinuxBoot),
}

/// A Linux kernel, booted as Documentation/arch/arm64/booting.rst says, with a GICv3, a 16550 and a device tree.
#[derive(Debug, Clone)]
pub struct LinuxBoot {
    /// The file of an arm64 Image, plain or gzip.
    pub kernel: PathBuf,
    /// The file of an initial RAM disk, in any form the kernel takes.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line, 2047 bytes at most with what is put before it. Absent: `console=ttyS0 panic=-1`.
    pub cmdline: Option<String>,
    /// Describe the machine by ACPI too, and say so by `acpi=on` before the command line: the guest can then be told which of its
    /// pages are lost.
    pub acpi: bool,
}

/// What a guest's reset does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnReset {
    /// It ends the virtual machine.
    Exit,
    /// The guest boots again, from the files that the virtual machine was created with and with fresh memory in the place of
    /// lost pages.
    Restart,
}

/// The bytes of an image, or the file that holds them.
#[derive(Debug, Clone)]
pub enum Image {
    /// A file of the host.
    Path(PathBuf),
    /// The bytes themselves.
    Bytes(Vec<u8>),
}

impl VmOptions {
    /// Whether the guest has a UART for an agent that tells it of lost pages.
    pub(crate) const fn has_agent_channel(&self) -> bool {
        let boots_without_acpi = matches!(self.boot, Boot::Linux(LinuxBoot { acpi: false, .. }));
        boots_without_acpi && matches!(self.memory_failure.notify_guest, NotifyGuest::Agent)
    }

    /// Checks what can be checked before anything is created.
    pub(crate) fn validate(&self) -> Result<(), VmError> {
        let page = self.huge_page.map_or_else(host_page_size, HugePage::bytes);
        if self.memory == 0 || !self.memory.is_multiple_of(page) {
            return Err(VmError::InvalidMemory {
                page,
                received: self.memory,
            });
        }
        if self.vcpus == 0 || self.vcpus > MAX_VCPUS {
            return Err(VmError::InvalidVcpus { received: self.vcpus });
        }
        if let BackendOptions::Simulated(script) = &self.backend
            && script.len() > self.vcpus as usize
        {
            return Err(VmError::ScriptForMissingVcpu {
                scripts: script.len(),
                vcpus: self.vcpus,
            });
        }
        Ok(())
    }
}
