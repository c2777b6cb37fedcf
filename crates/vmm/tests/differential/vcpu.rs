//! A vCPU of KVM that never runs: its registers are set, an exception is entered, its registers are read.

use std::sync::Arc;

use seawall_arm64::{AbortKind, EntryState, Exception, Gva, Pstate, take_exception};
use seawall_kvm::{Errno, GuestMemory, KvmError, PowerState, RegId, Vcpu, VcpuEvents, VmConfig, VmFd};

use crate::difference::Snapshot;
use crate::random::Random;
use crate::registers::Registers;

/// Registers that count by themselves: CNTPCT_EL0 and CNTVCT_EL0, `KVM_REG_ARM_PTIMER_CNT` and `KVM_REG_ARM_TIMER_CNT`
/// of asm/kvm.h.
const COUNTERS: [u64; 2] = [0x6030_0000_0013_df01, 0x6030_0000_0013_df1a];

/// A vCPU that has never run, so that the kernel's last fault is all zeros: FAR 0, and no table walk.
#[derive(Debug)]
pub(crate) struct FreshVcpu {
    vcpu: Vcpu,
    readable: Vec<RegId>,
}

impl FreshVcpu {
    /// Creates one at EL1, with all its state set to what `random` says.
    pub(crate) fn new(mut random: Random) -> Result<Self, KvmError> {
        let memory = Arc::new(GuestMemory::create(1 << 16, None)?);
        let vm = VmFd::create(VmConfig {
            arm_sea_to_user: true,
            arm_nisv_to_user: true,
        })?;
        let mut vcpu = vm.create_vcpu(0, PowerState::On, &memory)?;
        let mut readable = vcpu.register_ids()?;
        readable.sort_unstable();
        readable.retain(|register| !COUNTERS.contains(&register.bits()));
        for &register in readable.iter().filter(|register| is_state(**register)) {
            let value = u128::from(random.word()) << 64 | u128::from(random.word());
            // What the kernel does not take keeps its value, and is compared all the same.
            drop(vcpu.set_wide_register(register, value));
        }
        Ok(Self { vcpu, readable })
    }

    /// Every readable register but the counters.
    pub(crate) fn readable(&self) -> &[RegId] {
        &self.readable
    }

    /// Makes the vCPU, which is at EL1, one that was interrupted in this state.
    pub(crate) fn load(&mut self, registers: &Registers) -> Result<(), KvmError> {
        registers
            .in_order()
            .try_for_each(|(register, value)| self.vcpu.set_register(register, value))
    }

    /// The kernel's own way, which knows data aborts only.
    pub(crate) fn enter_by_kernel(&mut self) -> Result<(), KvmError> {
        self.vcpu.set_events(VcpuEvents::ExternalDataAbort)
    }

    /// Our way: the registers read, the entry computed, the registers written.
    pub(crate) fn enter_by_registers(&mut self, kind: AbortKind) -> Result<(), KvmError> {
        let vcpu = &mut self.vcpu;
        let state = EntryState {
            pc: Gva::from_bits(vcpu.get_register(RegId::PC)?),
            pstate: Pstate::from_bits(vcpu.get_register(RegId::PSTATE)?),
            vbar_el1: Gva::from_bits(vcpu.get_register(RegId::VBAR_EL1)?),
            sctlr_el1: vcpu.get_register(RegId::SCTLR_EL1)?,
            sctlr2_el1: match vcpu.get_register(RegId::SCTLR2_EL1) {
                Err(error) if error.errno() == Some(Errno::NO_ENTRY) => None,
                value => Some(value?),
            },
            mte: false,
        };
        let far = Gva::from_bits(0);
        let entry = take_exception(&state, Exception::ExternalAbort { kind, far });
        for (register, value) in [
            (RegId::PSTATE, entry.pstate.bits()),
            (RegId::ELR_EL1, entry.elr_el1.bits()),
            (RegId::SPSR_EL1, entry.spsr_el1.bits()),
            (RegId::PC, entry.pc.bits()),
            (RegId::ESR_EL1, entry.esr_el1.bits()),
            (RegId::FAR_EL1, entry.far_el1.map_or(0, Gva::bits)),
        ] {
            vcpu.set_register(register, value)?;
        }
        Ok(())
    }

    /// What is in these registers.
    pub(crate) fn read(&mut self, registers: &[RegId]) -> Result<Snapshot, KvmError> {
        registers
            .iter()
            .map(|&register| Ok((register, self.vcpu.get_wide_register(register)?)))
            .collect()
    }
}

/// Whether a register is state of the guest rather than a description of the machine: core registers, and system
/// registers but those with CRn 0 (identification). Timers stay off too: one that fires again and again slows the host.
fn is_state(register: RegId) -> bool {
    match register.bits() >> 16 & 0xfff {
        0x10 => register != RegId::PSTATE,
        0x13 => !matches!(register.bits() >> 7 & 0xf, 0 | 14),
        _ => false,
    }
}
