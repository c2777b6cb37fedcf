//! Why a vCPU left the guest, as an owned value; and with what it goes back in.

use seawall_arm64::{Esr, Gpa, Gva};

use crate::error::Errno;

/// With what a vCPU enters the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VcpuEntry {
    /// Nothing to hand over.
    #[default]
    Run,
    /// The answer to the [`VcpuExit::MmioRead`] before it, little-endian; only the bytes of the access count.
    MmioRead([u8; 8]),
    /// The access of the MMIO exit before it is not completed: it runs again, or its abort was made of registers.
    Retry,
}

/// Why a vCPU left the guest. Owned: nothing in it points into `kvm_run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VcpuExit {
    /// A load from a guest-physical address without memory; [`VcpuEntry::MmioRead`] answers it.
    MmioRead {
        /// The first byte of the access.
        gpa: Gpa,
        /// The size of the access in bytes: 1, 2, 4 or 8.
        len: u8,
    },
    /// A store to a guest-physical address without memory.
    MmioWrite {
        /// The first byte of the access.
        gpa: Gpa,
        /// What was stored, little-endian.
        data: [u8; 8],
        /// The size of the access in bytes: 1, 2, 4 or 8.
        len: u8,
    },
    /// `KVM_EXIT_ARM_SEA`: the guest consumed an uncorrected memory error.
    ArmSea(SeaExit),
    /// `KVM_EXIT_ARM_NISV`: an access without memory and without an instruction syndrome.
    Nisv {
        /// ISS bits CM, WnR and FSC.
        esr_iss: u64,
        /// The first byte of the access.
        gpa: Gpa,
    },
    /// `KVM_EXIT_ARM_LDST64B`: a 64-byte access without memory.
    Ldst64b {
        /// The syndrome without its fault status code.
        esr_iss: u64,
        /// The first byte of the access.
        gpa: Gpa,
    },
    /// `KVM_EXIT_MEMORY_FAULT`: KVM could not resolve a guest-physical range.
    MemoryFault {
        /// `KVM_MEMORY_EXIT_FLAG_*`.
        flags: u64,
        /// The first byte of the range.
        gpa: Gpa,
        /// The length of the range in bytes.
        size: u64,
        /// `EHWPOISON` for a memory error, else `EFAULT`.
        errno: Errno,
    },
    /// The guest asked for a system event through PSCI.
    SystemEvent {
        /// Which one.
        kind: SystemEventKind,
        /// The event's flags; on arm64 the first data word, where there is one.
        flags: Option<u64>,
    },
    /// `SIGBUS` with `BUS_MCEERR_AR` during the run: the guest needed a page that the host has lost. The program counter
    /// has not moved, and an abort injected now carries the right address.
    MemoryErrorSignal(MemoryErrorSignal),
    /// The run was interrupted by a signal or by `immediate_exit`; the request flags say why.
    Interrupted,
    /// `KVM_EXIT_FAIL_ENTRY`: the hardware refused to enter the guest.
    FailEntry {
        /// The hardware's reason.
        hardware_entry_failure_reason: u64,
        /// The physical CPU.
        cpu: u32,
    },
    /// `KVM_EXIT_INTERNAL_ERROR`.
    InternalError {
        /// `KVM_INTERNAL_ERROR_*`.
        suberror: u32,
    },
    /// An exit this version does not know.
    Unknown {
        /// `kvm_run.exit_reason`.
        reason: u32,
        /// The first 32 bytes of the exit union, for a report.
        payload: [u64; 4],
    },
}

/// A page that the host has lost, as a `SIGBUS` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryErrorSignal {
    /// What the signal means.
    pub code: SignalCode,
    /// The first byte of the 4 KiB page, as an offset in guest RAM.
    pub offset: u64,
    /// `si_addr_lsb`: 2 to the power of it is the size of what is lost, in bytes.
    pub lsb: u8,
}

/// `si_code` of a `SIGBUS` that tells of a memory error (sigaction(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalCode {
    /// `BUS_MCEERR_AR`: an access needs the page.
    ActionRequired,
    /// `BUS_MCEERR_AO`: the host found the error, and nobody needs the page yet.
    ActionOptional,
    /// `BUS_OBJERR`: an access of this process took an external abort that the firmware did not claim.
    ObjectError,
}

impl SignalCode {
    /// Of `si_code`; absent where it tells of something else than a memory error, such as `BUS_ADRERR`.
    #[must_use]
    pub const fn from_si_code(code: i32) -> Option<Self> {
        match code {
            #[cfg(target_os = "linux")]
            libc::BUS_OBJERR => Some(Self::ObjectError),
            #[cfg(target_os = "linux")]
            libc::BUS_MCEERR_AR => Some(Self::ActionRequired),
            #[cfg(target_os = "linux")]
            libc::BUS_MCEERR_AO => Some(Self::ActionOptional),
            _ => None,
        }
    }
}

/// A synchronous external abort the guest took, as the kernel handed it over.
///
/// Source: `struct kvm_run.arm_sea`, linux/kvm.h of Linux 7.3; KVM api.rst, "KVM_EXIT_ARM_SEA".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeaExit {
    /// ESR_EL2 reduced to EC, IL, FnV, EA, CM, WnR, FSC, and SET where the VM has RAS.
    pub esr: Esr,
    /// The faulting guest-virtual address; absent exactly when ESR.FnV is set.
    pub gva: Option<Gva>,
    /// The faulting guest-physical page, aligned to 4 KiB; absent exactly when the kernel's flag is clear.
    pub gpa: Option<Gpa>,
}

/// What a guest asked for through PSCI, or what KVM says happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemEventKind {
    /// SYSTEM_OFF.
    Shutdown,
    /// SYSTEM_RESET.
    Reset,
    /// The guest crashed.
    Crash,
    /// An event this version does not know, with its number.
    Other(u32),
}
