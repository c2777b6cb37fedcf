//! `Gic::reset` on real KVM: a guest changes its CPU interface, and finds it as it was at first after the reset.
//!
//! It needs an arm64 KVM; elsewhere one line starting with `SKIPPED` says so.
#![expect(
    clippy::expect_used,
    reason = "a test fails by panicking, also in its helpers"
)]

use std::io::Write as _;
use std::sync::Arc;

use seawall_kvm::{
    GicConfig, GuestMemory, PowerState, RegId, Vcpu, VcpuEntry, VcpuExit, VmConfig, VmFd, probe_host,
};

const RAM: u64 = 0x8000_0000;
/// Nothing is there: a store ends the program.
const NOWHERE: u64 = 0x1000_0000;
/// EL1h with all exceptions masked.
const PSTATE: u64 = 0x3c5;

/// Registers of the CPU interface by CRn, CRm and op2 (Arm IHI 0069, chapter 12), and what a guest changes them to. First
/// those that the others would hide: ICC_CTLR_EL1.CBPR puts ICC_BPR0_EL1 in the place of ICC_BPR1_EL1. Group 0 stays disabled:
/// in a guest of QEMU's CPU that enables it nothing goes on.
const REGISTERS: [(&str, [u32; 3], u64); 7] = [
    ("ICC_PMR_EL1", [4, 6, 0], 0xf0),
    ("ICC_BPR0_EL1", [12, 8, 3], 5),
    ("ICC_BPR1_EL1", [12, 12, 3], 6),
    ("ICC_AP0R0_EL1", [12, 8, 4], 1 << 4),
    ("ICC_AP1R0_EL1", [12, 9, 0], 1 << 5),
    ("ICC_CTLR_EL1", [12, 12, 4], 0b11),
    ("ICC_IGRPEN1_EL1", [12, 12, 7], 1),
];

const NOP: u32 = 0xd503_201f;
const ISB: u32 = 0xd503_3fdf;
/// `str x0, [x30]`
const STORE: u32 = 0xf900_03c0;

/// `msr <register>, x<from>`
const fn write([crn, crm, op2]: [u32; 3], from: u32) -> u32 {
    0xd518_0000 | crn << 12 | crm << 8 | op2 << 5 | from
}

/// `mrs x<to>, <register>`
const fn read(register: [u32; 3], to: u32) -> u32 {
    write(register, to) | 1 << 21
}

/// A program that changes the registers from x0 on, if it is to, and reads them into the same. It begins with what KVM skips
/// to complete the store of the one before it.
fn program(changes: bool) -> Vec<u8> {
    let numbered = || (0..).zip(REGISTERS);
    let writes = numbered().map(|(number, (_, register, _))| write(register, number));
    let reads = numbered().map(|(number, (_, register, _))| read(register, number));
    let code = [NOP]
        .into_iter()
        .chain(writes.filter(|_| changes))
        .chain([ISB])
        .chain(reads)
        .chain([STORE]);
    code.flat_map(u32::to_le_bytes).collect()
}

/// Runs the program at an address, and returns what it has read.
fn run(vcpu: &mut Vcpu, program: u64) -> Vec<(&'static str, u64)> {
    let numbered = (0..).zip(REGISTERS);
    for (number, (_, _, value)) in numbered.clone() {
        let x = RegId::x(number).expect("a general-purpose register");
        vcpu.set_register(x, value).expect("a register");
    }
    for (register, value) in [
        (RegId::x(30).expect("a register"), NOWHERE),
        (RegId::PC, program),
        (RegId::PSTATE, PSTATE),
    ] {
        vcpu.set_register(register, value).expect("a register");
    }
    let exit = vcpu.run(VcpuEntry::Run).expect("it runs");
    assert!(
        matches!(exit, VcpuExit::MmioWrite { gpa, .. } if gpa.bits() == NOWHERE),
        "{exit:?}"
    );
    let read = numbered.map(|(number, (name, _, _))| {
        let x = RegId::x(number).expect("a general-purpose register");
        (name, vcpu.get_register(x).expect("a register"))
    });
    read.collect()
}

#[test]
fn a_cpu_interface_is_as_it_was_at_first_after_a_reset() {
    if !probe_host().capabilities.arm_sea_to_user {
        assert!(
            std::env::var_os("SEAWALL_HOST").is_none(),
            "the lab is no arm64 KVM"
        );
        let skipped = writeln!(std::io::stdout(), "\nSKIPPED gic_reset: needs an arm64 KVM");
        return skipped.expect("somebody reads");
    }
    let memory = Arc::new(GuestMemory::create(1 << 16, None).expect("memory"));
    let config = VmConfig {
        arm_sea_to_user: false,
        arm_nisv_to_user: false,
    };
    let vm = VmFd::create(config).expect("a virtual machine");
    vm.add_memory(RAM, &memory).expect("a slot");
    let mut vcpu = vm.create_vcpu(0, PowerState::On, &memory).expect("a vCPU");
    let gic = vm.create_gic(GicConfig {
        distributor: 0x3fff_0000,
        redistributors: 0x3ffd_0000,
        interrupts: 64,
    });
    let gic = gic.expect("an interrupt controller");
    let _target = vcpu.enter_thread().expect("a thread");
    let cpus = [vcpu.get_register(RegId::MPIDR_EL1).expect("a register")];

    let (look, change) = (RAM, RAM + 4096);
    memory.write(look - RAM, &program(false)).expect("guest RAM");
    memory.write(change - RAM, &program(true)).expect("guest RAM");
    let first = run(&mut vcpu, look);
    let changed = run(&mut vcpu, change);
    for (first, changed) in first.iter().zip(&changed) {
        assert_ne!(first, changed, "the guest can change it");
    }
    gic.reset(&cpus).expect("no vCPU is in the guest");
    assert_eq!(run(&mut vcpu, look), first);
}
