//! One memory error as the virtual machine monitor sees it.

use seawall_arm64::{Abort, Esr, Gpa, Gva, Pstate, Syndrome};

/// A synchronous external abort that a vCPU of ours took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeaFault {
    /// The vCPU.
    pub vcpu: u32,
    /// What the kernel reported.
    pub esr: Esr,
    /// The guest-virtual address; absent when ESR.FnV says so.
    pub gva: Option<Gva>,
    /// The guest-physical page; absent where the kernel does not know it.
    pub gpa: Option<Gpa>,
    /// Who consumed the error.
    pub consumer: Consumer,
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

impl SeaFault {
    /// The abort's decoded fields. The kernel exits for aborts only; another class is kept as no abort.
    #[must_use]
    pub fn abort(&self) -> Option<Abort> {
        Syndrome::decode(self.esr).abort()
    }
}
