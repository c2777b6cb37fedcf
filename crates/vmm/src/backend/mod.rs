//! What the run loop asks of a vCPU, with two implementations, KVM and the simulator, and one for tests.

#[cfg(test)]
pub(crate) mod fake;
mod kvm;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use seawall_kvm::{
    Gic, GuestMemory, Irqfd, Kick, KickTarget, KvmError, PowerState, RegId, VcpuEntry, VcpuEvents, VcpuExit,
    VmFd,
};

use crate::devices::InterruptLine;
use crate::event::QuarantineMethod;
use crate::options::{BackendOptions, VmOptions};
use crate::sea::Granule;
use crate::simulated::{SimulatedQuarantine, SimulatedVcpu};
use crate::vcpu::GuestGate;

/// One vCPU, owned by one thread.
pub(crate) trait VcpuBackend: Send + fmt::Debug {
    /// Enters the guest and returns why it left.
    fn run(&mut self, entry: VcpuEntry) -> Result<VcpuExit, KvmError>;
    /// Reads a register.
    fn get_register(&mut self, register: RegId) -> Result<u64, KvmError>;
    /// Writes a register.
    fn set_register(&mut self, register: RegId, value: u64) -> Result<(), KvmError>;
    /// Gives every register its value after a reset of the processor.
    fn reset(&mut self, power: PowerState) -> Result<(), KvmError>;
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

impl InterruptLine for Irqfd {
    fn raise(&self) {
        Self::raise(self);
    }
}

/// Whether vCPU `index` runs from the start; the others wait for PSCI CPU_ON.
pub(crate) const fn power_at_reset(index: u32) -> PowerState {
    if index == 0 {
        PowerState::On
    } else {
        PowerState::Off
    }
}

/// Takes lost pages of guest RAM out of everybody's reach. Offsets and sizes are in bytes of guest RAM.
pub(crate) trait PageQuarantine: Send + Sync + fmt::Debug {
    /// Takes whole pages, once: a page that was taken is said to be.
    fn take(&self, offset: u64, len: u64) -> Result<QuarantineMethod, QuarantineError>;
    /// Waits until no page is being taken.
    fn settle(&self);
    /// How the page around an offset was taken, if it was. Waits for one that is being taken.
    fn method(&self, offset: u64) -> Option<QuarantineMethod>;
    /// Puts fresh zeroed memory in the place of pages, for everybody.
    fn replace(&self, offset: u64, len: u64) -> Result<(), QuarantineError>;
    /// Takes the lost pages out of the host's use for ever, as far as this process may and until the deadline: the offset
    /// of each page that is held, and whether it was. Called once, when nobody uses the memory any more.
    fn retire(&self, deadline: Instant) -> Vec<(u64, bool)>;
}

/// Why a page could not be taken out of reach, or not be replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuarantineError {
    /// Each page may cost a memory slot, of which a virtual machine has a limited number.
    #[error("{limit} pages of this VM are in quarantine already, which is all it may have")]
    Full {
        /// How many are taken at most.
        limit: usize,
    },
    /// A report names more pages than one call may.
    #[error("Expected at most {limit} pages for one report but received {received}")]
    TooMany {
        /// How many it may name.
        limit: u64,
        /// How many it names.
        received: u64,
    },
    /// The page is not lost.
    #[error("it is not lost")]
    NotLost,
    /// The kernel maps huge pages as a whole.
    #[error("memory of huge pages cannot be replaced in parts")]
    HugePage,
    /// A vCPU did not leave the guest, as it has to while the slots change.
    #[error("vCPU {vcpu} did not leave the guest in time")]
    Stuck {
        /// The vCPU.
        vcpu: u32,
    },
    /// The kernel refused.
    #[error(transparent)]
    Kvm(#[from] KvmError),
}

/// A virtual machine's vCPUs, and what must live as long as they do.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) vcpus: Vec<Box<dyn VcpuBackend>>,
    pub(crate) vm: Option<Arc<VmFd>>,
    /// Present where the guest has an interrupt controller.
    pub(crate) gic: Option<Gic>,
    /// The console's interrupt, where the guest has an interrupt controller.
    pub(crate) serial_interrupt: Option<Arc<dyn InterruptLine>>,
    /// The interrupt that says that there is a record of a lost page, likewise.
    pub(crate) ghes_interrupt: Option<Arc<dyn InterruptLine>>,
    /// The interrupt of the agent's UART, likewise, where there is one.
    pub(crate) agent_interrupt: Option<Arc<dyn InterruptLine>>,
    pub(crate) gate: Arc<GuestGate>,
    pub(crate) quarantine: Box<dyn PageQuarantine>,
    /// What a lost page takes with it where nobody says more.
    pub(crate) granule: Granule,
}

/// Creates the virtual machine that `options` ask for, over `memory`.
pub(crate) fn create(options: &VmOptions, memory: &Arc<GuestMemory>) -> Result<Machine, KvmError> {
    match &options.backend {
        BackendOptions::Kvm => kvm::create(options, memory),
        BackendOptions::Simulated(script) => {
            let quarantine = SimulatedQuarantine::new(memory);
            let vcpus: Vec<_> = (0..options.vcpus)
                .map(|index| {
                    let vcpu = SimulatedVcpu::new(index, script.vcpu(index), options, quarantine.clone());
                    Box::new(vcpu) as Box<dyn VcpuBackend>
                })
                .collect();
            Ok(Machine {
                gate: Arc::new(GuestGate::new(vcpus.iter().map(|vcpu| vcpu.kicker()))),
                vcpus,
                vm: None,
                gic: None,
                serial_interrupt: None,
                ghes_interrupt: None,
                agent_interrupt: None,
                quarantine: Box::new(quarantine),
                granule: Granule::PAGE,
            })
        }
    }
}
