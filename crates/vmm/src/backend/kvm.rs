//! KVM as a backend.

mod quarantine;

use std::sync::Arc;

use seawall_kvm::{
    GicConfig, GuestMemory, KickTarget, KvmError, PowerState, RegId, Vcpu, VcpuEntry, VcpuEvents, VcpuExit,
    VmConfig, VmFd, host_page_size,
};

use crate::backend::{Kicker, Machine, VcpuBackend, power_at_reset};
use crate::devices::InterruptLine;
use crate::memory_layout::{
    AGENT_SPI, GHES_SPI, GIC_DISTRIBUTOR_BASE, GIC_INTERRUPTS, RAM_BASE, SERIAL_SPI, gic_redistributors,
};
use crate::options::{Boot, VmOptions};
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
        let vcpu = vm.create_vcpu(index, power_at_reset(index), memory)?;
        Ok(Box::new(vcpu) as Box<dyn VcpuBackend>)
    });
    let vcpus = vcpus.collect::<Result<Vec<_>, KvmError>>()?;
    let (gic, serial_interrupt, ghes_interrupt, agent_interrupt) = match &options.boot {
        Boot::Flat { .. } => (None, None, None, None),
        Boot::Linux(_) => {
            let gic = vm.create_gic(GicConfig {
                distributor: GIC_DISTRIBUTOR_BASE,
                redistributors: gic_redistributors(options.vcpus.into()),
                interrupts: GIC_INTERRUPTS,
            })?;
            let interrupt = |spi| Ok::<Arc<dyn InterruptLine>, KvmError>(Arc::new(vm.irqfd(spi)?));
            let agent = options.has_agent_channel().then(|| interrupt(AGENT_SPI));
            (
                Some(gic),
                Some(interrupt(SERIAL_SPI)?),
                Some(interrupt(GHES_SPI)?),
                agent.transpose()?,
            )
        }
    };
    let gate = Arc::new(GuestGate::new(vcpus.iter().map(|vcpu| vcpu.kicker())));
    let quarantine = KvmQuarantine::new(Arc::clone(&vm), Arc::clone(memory), Arc::clone(&gate));
    Ok(Machine {
        vcpus,
        vm: Some(vm),
        gic,
        serial_interrupt,
        ghes_interrupt,
        agent_interrupt,
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

    fn reset(&mut self, power: PowerState) -> Result<(), KvmError> {
        Self::reset(self, power)
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
