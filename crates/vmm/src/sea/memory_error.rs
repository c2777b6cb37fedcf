//! One memory error as the virtual machine monitor sees it.

use seawall_arm64::{Abort, Esr, Gpa, Gva, Pstate, Syndrome};

/// A memory error in a guest's RAM, whichever way it reached us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryError {
    /// The vCPU that needed the memory; absent where none did.
    pub vcpu: Option<u32>,
    /// What reported it, and what it said.
    pub report: ErrorReport,
    /// The guest-physical page; absent where the kernel does not know it.
    pub gpa: Option<Gpa>,
    /// Who needed the memory; absent where no vCPU did.
    pub consumer: Option<Consumer>,
}

/// What reported a memory error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorReport {
    /// `KVM_EXIT_ARM_SEA`: the processor, in the guest's own words.
    Sea {
        /// What the kernel reported.
        esr: Esr,
        /// The guest-virtual address; absent when ESR.FnV says so.
        gva: Option<Gva>,
    },
    /// `SIGBUS`: the host's kernel had lost the page before the guest needed it, or a copy of our own met the error.
    Signal {
        /// What the signal means.
        code: SignalCode,
        /// `si_addr_lsb`: 2 to the power of it is the size of what is lost, in bytes.
        lsb: u8,
    },
    /// An access to a page in quarantine that has no memory slot: it left the guest as one to a device.
    Hole {
        /// Whether it was a store.
        write: bool,
    },
    /// `KVM_RUN` failed with `EHWPOISON`: as the signal, for memory that the host's kernel gives to KVM alone.
    MemoryFault,
    /// The owner of the virtual machine says that the page is lost.
    Owner,
}

/// What a `SIGBUS` that tells of a memory error means: `si_code` of sigaction(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalCode {
    /// `BUS_MCEERR_AR`: an access needs the page.
    ActionRequired,
    /// `BUS_MCEERR_AO`: nobody needs the page yet.
    ActionOptional,
    /// `BUS_OBJERR`: an access of our own took an external abort that the firmware did not claim.
    ObjectError,
}

/// Who consumed a memory error, by the registers of the interrupted vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumer {
    /// The instruction that consumed it.
    pub pc: Gva,
    /// The state it ran in.
    pub pstate: Pstate,
}

/// Whether a guest application or the guest's kernel consumed an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumerMode {
    /// EL0: the guest can lose one process.
    User,
    /// EL1: the guest's kernel itself.
    Kernel,
}

/// Which way a memory error reached us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureSource {
    /// `KVM_EXIT_ARM_SEA`.
    Sea,
    /// `SIGBUS` with `BUS_MCEERR_AR` during `KVM_RUN`, or `EHWPOISON` of it.
    SigbusAr,
    /// `SIGBUS` with `BUS_MCEERR_AO`: the host found the error, and nobody needed the page yet.
    SigbusAo,
    /// A guest's access to a page in quarantine: nothing was consumed on the hardware.
    QuarantinedPage,
    /// A copy of our own, to or from guest RAM.
    DeviceAccess,
    /// The owner of the virtual machine knew of it.
    Reported,
}

impl Consumer {
    /// The exception level as the two answers that matter.
    #[must_use]
    pub const fn mode(&self) -> ConsumerMode {
        if self.pstate.is_user() {
            ConsumerMode::User
        } else {
            ConsumerMode::Kernel
        }
    }
}

impl MemoryError {
    /// The syndrome the processor reported; a signal carries none.
    #[must_use]
    pub const fn esr(&self) -> Option<Esr> {
        match self.report {
            ErrorReport::Sea { esr, .. } => Some(esr),
            ErrorReport::Signal { .. }
            | ErrorReport::Hole { .. }
            | ErrorReport::MemoryFault
            | ErrorReport::Owner => None,
        }
    }

    /// The guest-virtual address, where it is known.
    #[must_use]
    pub const fn gva(&self) -> Option<Gva> {
        match self.report {
            ErrorReport::Sea { gva, .. } => gva,
            ErrorReport::Signal { .. }
            | ErrorReport::Hole { .. }
            | ErrorReport::MemoryFault
            | ErrorReport::Owner => None,
        }
    }

    /// The abort's decoded fields. The kernel exits for aborts only; another class is kept as no abort.
    #[must_use]
    pub fn abort(&self) -> Option<Abort> {
        self.esr().and_then(|esr| Syndrome::decode(esr).abort())
    }
}
