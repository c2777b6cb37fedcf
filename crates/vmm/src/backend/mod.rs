//! What the run loop asks of a vCPU, with two implementations, KVM and the simulator, and one for tests.

#[cfg(test)]
pub(crate) mod fake;
mod kvm;

use std::fmt;
use std::sync::Arc;

use seawall_kvm::{GuestMemory, Kick, KickTarget, KvmError, RegId, VcpuEntry, VcpuEvents, VcpuExit, VmFd};

use crate::event::QuarantineMethod;
use crate::options::{BackendOptions, VmOptions};
use crate::sea::Granule;
use crate::simulated::{SimulatedQuarantine, SimulatedVcpu};

/// One vCPU, owned by one thread.
pub(crate) trait VcpuBackend: Send + fmt::Debug {
    /// Enters the guest and returns why it left.
    fn run(&mut self, entry: VcpuEntry) -> Result<VcpuExit, KvmError>;
    /// Reads a register.
    fn get_register(&mut self, register: RegId) -> Result<u64, KvmError>;
    /// Writes a register.
    fn set_register(&mut self, register: RegId, value: u64) -> Result<(), KvmError>;
    /// Injects an exception, at once. May do nothing and say success, as the kernel may.
    fn set_events(&mut self, events: VcpuEvents) -> Result<(), KvmError>;
    /// The way to get the vCPU out of the guest from another thread.
    fn kicker(&self) -> Arc<dyn Kicker>;
    /// Prepares the current thread to run the vCPU, for as long as the answer lives.
    fn enter_thread(&mut self) -> Result<Option<KickTarget>, KvmError>;
}

/// Gets one vCPU out of the guest: its current or next run ends with [`VcpuExit::Interrupted`].
pub(crate) trait Kicker: Send + Sync + fmt::Debug {
    /// The request that the vCPU is to find must be visible before this call.
    fn kick(&self) -> Result<(), KvmError>;
}

impl Kicker for Kick {
    fn kick(&self) -> Result<(), KvmError> {
        Self::kick(self)
    }
}

/// Takes lost pages of guest RAM out of everybody's reach.
pub(crate) trait PageQuarantine: Send + Sync + fmt::Debug {
    /// Takes whole pages, by offset in guest RAM and size in bytes. May be called twice for the same page.
    fn take(&self, offset: u64, len: u64) -> Result<QuarantineMethod, KvmError>;
    /// How pages were taken that are taken.
    fn method(&self) -> QuarantineMethod;
}

/// A virtual machine's vCPUs, and what must live as long as they do.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) vcpus: Vec<Box<dyn VcpuBackend>>,
    pub(crate) vm: Option<VmFd>,
    pub(crate) quarantine: Box<dyn PageQuarantine>,
    /// What a lost page takes with it where nobody says more.
    pub(crate) granule: Granule,
}

/// Creates the virtual machine that `options` ask for, over `memory`.
pub(crate) fn create(options: &VmOptions, memory: &Arc<GuestMemory>) -> Result<Machine, KvmError> {
    match &options.backend {
        BackendOptions::Kvm => kvm::create(options, memory),
        BackendOptions::Simulated(script) => {
            let quarantine = SimulatedQuarantine::default();
            let vcpus = (0..options.vcpus).map(|index| {
                let vcpu =
                    SimulatedVcpu::new(script.vcpu(index), options.arm_sea_to_user, quarantine.clone());
                Box::new(vcpu) as Box<dyn VcpuBackend>
            });
            Ok(Machine {
                vcpus: vcpus.collect(),
                vm: None,
                quarantine: Box::new(quarantine),
                granule: Granule::PAGE,
            })
        }
    }
}
