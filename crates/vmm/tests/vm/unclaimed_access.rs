//! Accesses where nothing is: an external abort, as on a machine without a device there.

use seawall_arm64::Gpa;
use seawall_kvm::{Errno, RegId};
use seawall_vmm::{AccessKind, Event, EventKind, ExitReason, Step, UnclaimedAccess, UnclaimedAccessPolicy};

use crate::harness::{INJECT, Machine, Registers, VBAR, guest};

const HOLE: Gpa = Gpa::from_bits(0x1000_0008);
const PC: u64 = 0x8000_0000;
const EL1H: u64 = 0x3c5;

fn accesses(events: &[Event]) -> Vec<UnclaimedAccess> {
    let access = |event: &Event| match event.kind {
        EventKind::UnclaimedAccess(access) => Some(access),
        _ => None,
    };
    events.iter().filter_map(access).collect()
}

#[test]
fn an_access_that_no_device_claims_aborts() {
    let write = || Step::MmioWrite {
        gpa: HOLE,
        data: vec![1, 2, 3, 4],
    };
    for (step, kind, written) in [
        (Step::MmioRead { gpa: HOLE, len: 8 }, AccessKind::Mmio, false),
        (write(), AccessKind::Mmio, true),
        (
            Step::Nisv {
                gpa: HOLE,
                esr_iss: 0x07,
            },
            AccessKind::Nisv,
            false,
        ),
        (
            Step::Nisv {
                gpa: HOLE,
                esr_iss: 0x47,
            },
            AccessKind::Nisv,
            true,
        ),
    ] {
        let mut machine = Machine::started(INJECT, vec![guest([step])]);
        machine.until("unclaimed access", |machine| {
            !accesses(&machine.events).is_empty()
        });
        assert_eq!(
            accesses(&machine.events),
            [UnclaimedAccess {
                vcpu: 0,
                kind,
                gpa: HOLE,
                write: Some(written),
                action: UnclaimedAccessPolicy::Abort,
            }]
        );
        machine.pause().expect("the guest goes on");
        let wnr = if written { 1 << 6 } else { 0 };
        assert_eq!(
            machine.registers(0),
            Registers {
                pc: VBAR + 0x200,
                pstate: EL1H,
                elr: PC,
                spsr: EL1H,
                esr: 0x9600_0010 | wnr,
                far: HOLE.bits(),
            },
            "{kind:?}, write {written}"
        );
    }
}

#[test]
fn an_access_that_a_device_claims_is_no_event() {
    let uart = 0x4000_2000;
    let steps = guest([
        Step::MmioWrite {
            gpa: Gpa::from_bits(uart),
            data: vec![b'!'],
        },
        // The line status register: the transmitter is empty.
        Step::MmioRead {
            gpa: Gpa::from_bits(uart + 5),
            len: 1,
        },
        Step::Print("{x0}".to_owned()),
    ]);
    let mut machine = Machine::started(INJECT, vec![steps]);
    machine.until("output", |machine| machine.console.len() == 19);
    assert_eq!(String::from_utf8_lossy(&machine.console), "!0x0000000000000060");
    assert_eq!(accesses(&machine.events), []);
}

#[test]
fn an_access_whose_abort_cannot_be_injected_fails_the_machine() {
    let refuse = Step::RefuseRegister {
        register: RegId::ESR_EL1,
        errno: Errno(22),
    };
    let mut machine = Machine::started(
        INJECT,
        vec![guest([refuse, Step::MmioRead { gpa: HOLE, len: 4 }])],
    );
    let exit = machine.wait().expect("ends");
    assert_eq!(exit.reason, ExitReason::Failed);
    assert_eq!(exit.error.map(|error| error.code()), Some("ERR_INJECTION_FAILED"));
    machine.kinds();
    assert_eq!(
        accesses(&machine.events).len(),
        1,
        "the access is reported all the same"
    );
}
