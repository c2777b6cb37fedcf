//! A vCPU without Seawall, so that the kernel can be told what Seawall would never say.

use kvm_bindings::{kvm_vcpu_events, kvm_vcpu_init};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use seawall_kvm::RegId;

/// EL1h with all exceptions masked, and with SErrors not masked.
pub(crate) const MASKED: u64 = 0x3c5;
pub(crate) const SERROR_OPEN: u64 = 0x2c5;
pub(crate) const PC: u64 = 0x1000;
pub(crate) const VBAR: u64 = 0x8_0000;

/// What an exception entry changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Registers {
    pub(crate) pc: u64,
    pub(crate) pstate: u64,
    pub(crate) elr: u64,
    pub(crate) spsr: u64,
    pub(crate) esr: u64,
    pub(crate) far: u64,
}

/// A vCPU that never runs.
#[derive(Debug)]
pub(crate) struct RawVcpu {
    vcpu: VcpuFd,
    vm: VmFd,
}

impl RawVcpu {
    /// One that was created and no more; none, and a line that says so, where there is no KVM.
    pub(crate) fn uninitialised() -> Option<Self> {
        let Ok(kvm) = Kvm::new() else {
            crate::skip("needs an arm64 KVM");
            return None;
        };
        let vm = kvm.create_vm().expect("a virtual machine");
        let vcpu = vm.create_vcpu(0).expect("a vCPU");
        Some(Self { vcpu, vm })
    }

    /// One that is at [`PC`] in this state.
    pub(crate) fn at(pstate: u64) -> Option<Self> {
        let raw = Self::uninitialised()?;
        let mut init = kvm_vcpu_init::default();
        raw.vm.get_preferred_target(&mut init).expect("a target");
        raw.vcpu.vcpu_init(&init).expect("a vCPU like the host's");
        for (register, value) in [
            (RegId::PC, PC),
            (RegId::VBAR_EL1, VBAR),
            (RegId::ESR_EL1, 0),
            (RegId::FAR_EL1, 0),
            (RegId::PSTATE, pstate),
        ] {
            let written = raw.vcpu.set_one_reg(register.bits(), &value.to_le_bytes());
            written.expect("a register that exists");
        }
        Some(raw)
    }

    /// Sets events. The error is its number.
    pub(crate) fn set(&self, change: impl FnOnce(&mut kvm_vcpu_events)) -> Result<(), i32> {
        let mut events = kvm_vcpu_events::default();
        change(&mut events);
        self.vcpu.set_vcpu_events(&events).map_err(|error| error.errno())
    }

    /// Whether an SError is pending, and its syndrome.
    pub(crate) fn pending_serror(&self) -> Option<u64> {
        let exception = self.vcpu.get_vcpu_events().expect("initialised").exception;
        assert_eq!(exception.ext_dabt_pending, 0, "an abort is never pending");
        (exception.serror_pending != 0).then_some(exception.serror_esr)
    }

    pub(crate) fn registers(&self) -> Registers {
        let read = |register: RegId| {
            let mut value = [0; 8];
            let read = self.vcpu.get_one_reg(register.bits(), &mut value);
            read.expect("a register that exists");
            u64::from_le_bytes(value)
        };
        Registers {
            pc: read(RegId::PC),
            pstate: read(RegId::PSTATE),
            elr: read(RegId::ELR_EL1),
            spsr: read(RegId::SPSR_EL1),
            esr: read(RegId::ESR_EL1),
            far: read(RegId::FAR_EL1),
        }
    }
}
