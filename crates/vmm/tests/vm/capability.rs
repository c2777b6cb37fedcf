//! Without KVM_CAP_ARM_SEA_TO_USER: what happens to a guest that Seawall does not look after.

use std::time::Instant;

use seawall_arm64::Pstate;
use seawall_vmm::{AbortStep, ExitReason, Step, VmState};

use crate::harness::{
    CONSUMER, DATA_ABORT, EL0T, EL1H, INJECT, LIMIT, Machine, Registers, VBAR, abort, guest,
};

fn without_capability(steps: Vec<Step>) -> Machine {
    let mut options = crate::harness::options(INJECT, vec![steps]);
    options.arm_sea_to_user = false;
    let machine = Machine::with(options);
    machine.start().expect("created");
    machine
}

#[test]
fn an_application_that_errs_gets_its_kernel_an_serror() {
    let steps = guest([Step::Sea(abort(DATA_ABORT)), Step::Print("panic\n".to_owned())]);
    let mut machine = without_capability(steps);
    machine.until("output", |machine| machine.console == b"panic\n");
    machine.pause().expect("running");
    assert_eq!(
        machine.registers(0),
        Registers {
            pc: VBAR + 0x580,
            pstate: 0x6000_03c5,
            elr: CONSUMER,
            spsr: EL0T,
            esr: 0xbf00_0000,
            far: 0,
        },
        "the SError vector, with an implementation-defined syndrome"
    );
    assert!(machine.seen_failures().is_empty(), "nobody is told");
}

#[test]
fn a_kernel_that_masks_serrors_spins_and_can_be_stopped() {
    let steps = guest([
        Step::Sea(AbortStep {
            pstate: Pstate::from_bits(EL1H),
            ..abort(DATA_ABORT)
        }),
        Step::Print("never".to_owned()),
    ]);
    let mut machine = without_capability(steps);
    // A pause may come before the guest gets there.
    let deadline = Instant::now() + LIMIT;
    loop {
        machine.pause().expect("it spins, and can be paused");
        if machine.get(0, "pc") == Ok(CONSUMER) {
            break;
        }
        assert!(Instant::now() < deadline, "the guest never accesses the page");
        machine.resume().expect("paused");
    }
    machine.resume().expect("paused");
    machine.pause().expect("it spins on");
    assert_eq!(machine.get(0, "pc"), Ok(CONSUMER), "at the same instruction");
    machine.resume().expect("paused");
    assert_eq!(machine.stop().expect("running").reason, ExitReason::Requested);
    assert_eq!(machine.vm.state(), VmState::Stopped);
    machine.kinds();
    assert!(machine.console.is_empty() && machine.seen_failures().is_empty());
}
