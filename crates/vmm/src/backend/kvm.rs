//! KVM as a backend.

mod quarantine;

use std::sync::Arc;

use seawall_kvm::{
    GuestMemory, KickTarget, KvmError, PowerState, RegId, Vcpu, VcpuEntry, VcpuEvents, VcpuExit, VmConfig,
    VmFd, host_page_size,
};

use crate::backend::{Kicker, Machine, VcpuBackend};
use crate::memory_layout::RAM_BASE;
use crate::options::VmOptions;
use crate::sea::Granule;
use crate::vcpu::GuestGate;
use quarantine::KvmQuarantine;

pub(super) fn create(options: &VmOptions, memory: &Arc<GuestMemory>) -> Result<Machine, KvmError> {
    let vm = Arc::new(VmFd::create(VmConfig {
        arm_sea_to_user: options.arm_sea_to_user,
        arm_nisv_to_user: options.arm_nisv_to_user,
    })?);
    vm.add_memory(RAM_BASE, memory)?;
    let vcpus = (0..options.vcpus).map(|index| {
        let power = if index == 0 {
            PowerState::On
        } else {
            PowerState::Off
        };
        Ok(Box::new(vm.create_vcpu(index, power, memory)?) as Box<dyn VcpuBackend>)
    });
    let vcpus = vcpus.collect::<Result<Vec<_>, KvmError>>()?;
    let gate = Arc::new(GuestGate::new(vcpus.iter().map(|vcpu| vcpu.kicker())));
    let quarantine = KvmQuarantine::new(Arc::clone(&vm), Arc::clone(memory), Arc::clone(&gate));
    Ok(Machine {
        vcpus,
        vm: Some(vm),
        gate,
        quarantine: Box::new(quarantine),
        granule: Granule::from_bytes(host_page_size()),
    })
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
