//! KVM as a backend.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use seawall_kvm::{
    GuestMemory, KickTarget, KvmError, PowerState, Quarantine, RegId, Vcpu, VcpuEntry, VcpuEvents, VcpuExit,
    VmConfig, VmFd, host_page_size,
};

use crate::backend::{Kicker, Machine, PageQuarantine, VcpuBackend};
use crate::event::QuarantineMethod;
use crate::memory_layout::RAM_BASE;
use crate::options::VmOptions;
use crate::sea::Granule;

pub(super) fn create(options: &VmOptions, memory: &Arc<GuestMemory>) -> Result<Machine, KvmError> {
    let vm = VmFd::create(VmConfig {
        arm_sea_to_user: options.arm_sea_to_user,
        arm_nisv_to_user: options.arm_nisv_to_user,
    })?;
    vm.set_memory_slot(0, RAM_BASE, memory)?;
    let vcpus = (0..options.vcpus).map(|index| {
        let power = if index == 0 {
            PowerState::On
        } else {
            PowerState::Off
        };
        Ok(Box::new(vm.create_vcpu(index, power, memory)?) as Box<dyn VcpuBackend>)
    });
    let vcpus = vcpus.collect::<Result<_, KvmError>>()?;
    let quarantine = Userfaultfd {
        memory: Arc::clone(memory),
        opened: OnceLock::new(),
        taken: Mutex::default(),
    };
    Ok(Machine {
        vcpus,
        vm: Some(vm),
        quarantine: Box::new(quarantine),
        granule: Granule::from_bytes(host_page_size()),
    })
}

/// Pages are taken by a userfaultfd, which is opened when the first one is lost.
#[derive(Debug)]
struct Userfaultfd {
    memory: Arc<GuestMemory>,
    opened: OnceLock<Result<Quarantine, KvmError>>,
    /// The pages that were taken, by offset: two vCPUs may lose one at the same time, and taking it again would open it.
    taken: Mutex<BTreeSet<u64>>,
}

impl PageQuarantine for Userfaultfd {
    fn take(&self, offset: u64, len: u64) -> Result<QuarantineMethod, KvmError> {
        let opened = self
            .opened
            .get_or_init(Quarantine::open)
            .as_ref()
            .map_err(Clone::clone)?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if !taken.contains(&offset) {
            opened.take(&self.memory, offset, len)?;
            taken.insert(offset);
        }
        Ok(QuarantineMethod::Userfaultfd)
    }

    fn method(&self) -> QuarantineMethod {
        QuarantineMethod::Userfaultfd
    }
}

impl VcpuBackend for Vcpu {
    fn run(&mut self, entry: VcpuEntry) -> Result<VcpuExit, KvmError> {
        Self::run(self, entry)
    }

    fn get_register(&mut self, register: RegId) -> Result<u64, KvmError> {
        Self::get_register(self, register)
    }

    fn set_register(&mut self, register: RegId, value: u64) -> Result<(), KvmError> {
        Self::set_register(self, register, value)
    }

    fn set_events(&mut self, events: VcpuEvents) -> Result<(), KvmError> {
        Self::set_events(self, events)
    }

    fn kicker(&self) -> Arc<dyn Kicker> {
        Arc::new(self.kick())
    }

    fn enter_thread(&mut self) -> Result<Option<KickTarget>, KvmError> {
        Self::enter_thread(self).map(Some)
    }
}
