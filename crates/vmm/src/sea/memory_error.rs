//! One memory error as the virtual machine monitor sees it.

use seawall_arm64::{Abort, Esr, Gpa, Gva, Pstate, Syndrome};

/// A memory error that a vCPU of ours consumed, whichever way it reached us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryError {
    /// The vCPU.
    pub vcpu: u32,
    /// What reported it, and what it said.
    pub report: ErrorReport,
    /// The guest-physical page; absent where the kernel does not know it.
    pub gpa: Option<Gpa>,
    /// Who consumed the error.
    pub consumer: Consumer,
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
    /// `SIGBUS` with `BUS_MCEERR_AR` during `KVM_RUN`: the host's kernel had lost the page before the guest needed it.
    Signal {
        /// `si_addr_lsb`: 2 to the power of it is the size of what is lost, in bytes.
        lsb: u8,
    },
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
    /// `SIGBUS` with `BUS_MCEERR_AR` during `KVM_RUN`.
    SigbusAr,
    /// The same, on a page in quarantine: nothing was consumed on the hardware.
    QuarantinedPage,
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
            ErrorReport::Signal { .. } => None,
        }
    }

    /// The guest-virtual address, where it is known.
    #[must_use]
    pub const fn gva(&self) -> Option<Gva> {
        match self.report {
            ErrorReport::Sea { gva, .. } => gva,
            ErrorReport::Signal { .. } => None,
        }
    }

    /// The abort's decoded fields. The kernel exits for aborts only; another class is kept as no abort.
    #[must_use]
    pub fn abort(&self) -> Option<Abort> {
        self.esr().and_then(|esr| Syndrome::decode(esr).abort())
    }
}
