//! What a vCPU is in after an exit, as far as an injection depends on it.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use seawall_arm64::Gpa;
use seawall_kvm::{
    Errno, GuestMemory, KvmError, PowerState, RegId, Vcpu, VcpuEntry, VcpuEvents, VcpuExit, VmConfig, VmFd,
};

use crate::raw_vcpu::{SERROR_OPEN, VBAR};

const RAM: u64 = 0x8000_0000;
const RAM_SIZE: usize = 0x1_0000;
/// A page of RAM that nothing has touched.
const PAGE: u64 = RAM + 0x8000;
/// Where nothing is.
const HOLE: u64 = 0x1000_0000;
/// `ldr x0, [x1]` and `ldr x0, [x1], #8`; of the second no processor says which registers it is about.
const LOAD: u32 = 0xf940_0020;
const LOAD_WITH_WRITE_BACK: u32 = 0xf840_8420;
const MARKER: u64 = 0x5eed;
/// ID_AA64PFR0_EL1, and its field RAS.
const ID_AA64PFR0_EL1: RegId = RegId::from_bits(0x6030_0000_0013_c020);
const RAS: u64 = 0xf << 28;

struct Guest {
    vcpu: Vcpu,
    // The vCPU is part of it.
    _vm: VmFd,
}

/// A guest whose first instruction is this one, and makes an access there. None, and a line, where there is no KVM.
fn guest(instruction: u32, address: u64, config: VmConfig) -> Option<Guest> {
    if !seawall_kvm::probe_host().capabilities.arm_sea_to_user {
        crate::skip("needs an arm64 KVM");
        return None;
    }
    let memory = Arc::new(GuestMemory::create(RAM_SIZE, None).expect("memory"));
    memory.write(0, &instruction.to_le_bytes()).expect("RAM");
    let vm = VmFd::create(config).expect("a virtual machine");
    vm.add_memory(RAM, &memory).expect("a slot");
    let mut vcpu = vm.create_vcpu(0, PowerState::On, &memory).expect("a vCPU");
    for (register, value) in [
        (RegId::PC, RAM),
        (RegId::VBAR_EL1, VBAR),
        (RegId::PSTATE, SERROR_OPEN),
        (RegId::x(0).expect("exists"), MARKER),
        (RegId::x(1).expect("exists"), address),
    ] {
        vcpu.set_register(register, value).expect("exists");
    }
    Some(Guest { vcpu, _vm: vm })
}

const BOTH: VmConfig = VmConfig {
    arm_sea_to_user: true,
    arm_nisv_to_user: true,
};

impl Guest {
    fn get(&mut self, register: RegId) -> u64 {
        self.vcpu.get_register(register).expect("exists")
    }

    fn x0(&mut self) -> u64 {
        self.get(RegId::x(0).expect("exists"))
    }

    /// Injects a data abort. ELR, ESR and FAR of its handler.
    fn abort(&mut self) -> [u64; 3] {
        let events = VcpuEvents::ExternalDataAbort;
        self.vcpu.set_events(events).expect("the kernel injects");
        assert_eq!(self.get(RegId::PC), VBAR + 0x200);
        [RegId::ELR_EL1, RegId::ESR_EL1, RegId::FAR_EL1].map(|register| self.get(register))
    }

    fn run_to_load(&mut self) {
        let gpa = Gpa::from_bits(HOLE);
        let exit = self.vcpu.run(VcpuEntry::Run);
        assert_eq!(exit.expect("it runs"), VcpuExit::MmioRead { gpa, len: 8 });
    }
}

#[test]
fn an_abort_right_after_an_mmio_exit_is_that_of_the_access_and_nothing_is_loaded() {
    let Some(mut guest) = guest(LOAD, HOLE, BOTH) else {
        return;
    };
    guest.run_to_load();
    assert_eq!(guest.abort(), [RAM, 0x9600_0010, HOLE]);
    assert_eq!(guest.x0(), MARKER);
}

#[test]
fn a_run_that_ends_at_once_completes_the_load_so_an_abort_after_it_is_the_next_instructions() {
    let Some(mut guest) = guest(LOAD, HOLE, BOTH) else {
        return;
    };
    guest.run_to_load();
    guest.vcpu.kick().kick().expect("nobody to send a signal to");
    let exit = guest.vcpu.run(VcpuEntry::MmioRead(7_u64.to_le_bytes()));
    assert_eq!(exit.expect("it runs"), VcpuExit::Interrupted);
    assert_eq!(guest.x0(), 7);
    assert_eq!(guest.abort(), [RAM + 4, 0x9600_0010, HOLE]);
}

#[test]
fn without_nisv_to_user_the_access_fails_the_run_and_its_abort_can_still_be_injected() {
    let config = VmConfig {
        arm_nisv_to_user: false,
        ..BOTH
    };
    let Some(mut guest) = guest(LOAD_WITH_WRITE_BACK, HOLE, config) else {
        return;
    };
    let failed = guest.vcpu.run(VcpuEntry::Run);
    let syscall = "KVM_RUN";
    let errno = Errno::NOT_IMPLEMENTED;
    assert_eq!(failed, Err(KvmError::Syscall { syscall, errno }));
    assert_eq!(guest.abort(), [RAM, 0x9600_0010, HOLE]);
    assert_eq!(guest.x0(), MARKER);
}

#[test]
fn the_kernel_reports_set_where_the_guest_has_feat_ras_and_only_there() {
    let Ok(mut rules) = File::options().write(true).open("/dev/sea-inject") else {
        crate::skip("needs the lab's injector");
        return;
    };
    let line = format!(
        "arm id=1 tgid={} start={PAGE:#x} end={:#x} fsc=0x10 set=3\n",
        std::process::id(),
        PAGE + 0x1000
    );
    rules.write_all(line.as_bytes()).expect("a rule");
    for (ras, esr) in [(true, 0x9200_1810), (false, 0x9200_0010)] {
        let Some(mut guest) = guest(LOAD, PAGE, BOTH) else {
            return;
        };
        let features = guest.get(ID_AA64PFR0_EL1);
        assert_ne!(features & RAS, 0, "the lab's host has FEAT_RAS");
        if !ras {
            let without = guest.vcpu.set_register(ID_AA64PFR0_EL1, features & !RAS);
            without.expect("a feature that can be hidden");
        }
        let VcpuExit::ArmSea(exit) = guest.vcpu.run(VcpuEntry::Run).expect("it runs") else {
            unreachable!("the page is lost");
        };
        assert_eq!((exit.esr.bits(), exit.gpa), (esr, Some(Gpa::from_bits(PAGE))));
    }
}
