//! Injections that do not go the straight way: the kernel does nothing, refuses, or refuses everything.

use seawall_arm64::{Esr, Pstate};
use seawall_kvm::{Errno, RegId};
use seawall_vmm::sea::{FailureAction, Fidelity};
use seawall_vmm::{
    AbortStep, EventKind, ExitReason, Injection, InjectionError, InjectionMethod, Step, VmError, VmState,
};

use crate::harness::{
    CONSUMER, DATA_ABORT, EL0T, EL1H, FAR, INJECT, Machine, PAUSE, Registers, VBAR, abort, guest,
};

const EINVAL: Errno = Errno(22);
/// On a stage-1 table walk, level 2: where the kernel may do nothing and say success.
const WALK_ABORT: u64 = 0x9200_0016;

fn ignored(esr: u64, pstate: u64) -> Step {
    Step::Sea(AbortStep {
        ignores_injection: true,
        pstate: Pstate::from_bits(pstate),
        ..abort(esr)
    })
}

const REFUSED: Step = Step::RefuseInjection { errno: EINVAL };

#[test]
fn an_injection_that_the_kernel_ignores_is_made_of_registers() {
    for (exit_esr, pstate, esr, vector, handler) in [
        (WALK_ABORT, EL0T, 0x9200_0016, 0x400, 0x6000_03c5),
        (WALK_ABORT, EL1H, 0x9600_0016, 0x200, 0x8040_03c5),
        (0x8200_001e, EL0T, 0x8200_001e, 0x400, 0x6000_03c5),
        (0x8200_001e, EL1H, 0x8600_001e, 0x200, 0x8040_03c5),
    ] {
        for fnv in [0, 1 << 10] {
            for steps in [
                vec![ignored(exit_esr | fnv, pstate)],
                vec![
                    REFUSED,
                    Step::Sea(AbortStep {
                        pstate: Pstate::from_bits(pstate),
                        ..abort(exit_esr | fnv)
                    }),
                ],
            ] {
                let mut machine = Machine::new(INJECT, vec![guest(steps)]);
                machine.set(0, "far_el1", 0x77).expect("created");
                machine.start().expect("created");
                let failure = machine.failures(1).remove(0);
                assert_eq!(
                    failure.injection,
                    Some(Injection {
                        method: InjectionMethod::Registers,
                        esr: Some(Esr::from_bits(esr | fnv)),
                        error: None
                    })
                );
                machine.pause().expect("the guest goes on");
                assert_eq!(
                    machine.registers(0),
                    Registers {
                        pc: VBAR + vector,
                        pstate: handler,
                        elr: CONSUMER,
                        spsr: pstate,
                        esr: esr | fnv,
                        far: if fnv == 0 { FAR } else { 0 },
                    },
                    "{exit_esr:#x} from {pstate:#x}"
                );
            }
        }
    }
}

#[test]
fn the_handler_runs_once_after_an_injection_by_registers() {
    let steps = guest([ignored(WALK_ABORT, EL0T), Step::Print("{esr_el1}\n".to_owned())]);
    let mut machine = Machine::started(INJECT, vec![steps]);
    machine.until("output of the handler", |machine| {
        machine.console.ends_with(b"\n")
    });
    machine.pause().expect("running");
    assert_eq!(machine.console, b"0x0000000092000016\n");
    assert_eq!(machine.seen_failures().len(), 1, "the access does not run again");
}

#[test]
fn by_hand_a_refused_injection_goes_by_registers_too() {
    let mut machine = Machine::started(PAUSE, vec![guest([REFUSED, Step::Sea(abort(0x9200_0610))])]);
    machine.reaches(VmState::Paused);
    let injection = machine.inject(0, Fidelity::Kvm).expect("an access waits");
    assert_eq!(injection.method, InjectionMethod::Registers);
    // The address is not known here, so the guest must not trust FAR_EL1: FnV, which the kernel would have left out.
    assert_eq!(injection.esr, Some(Esr::from_bits(0x9200_0410)));
    assert_eq!(machine.get(0, "far_el1"), Ok(0));
}

#[test]
fn an_abort_that_nothing_can_inject_fails_the_machine() {
    for register in [RegId::ESR_EL1, RegId::ELR_EL1, RegId::PC] {
        let refuse = Step::RefuseRegister {
            register,
            errno: EINVAL,
        };
        let mut machine = Machine::started(
            INJECT,
            vec![guest([refuse, REFUSED, Step::Sea(abort(DATA_ABORT))]), guest([])],
        );
        let failure = machine.failures(1).remove(0);
        let injection = failure.injection.expect("tried");
        assert_eq!((failure.action, injection.esr), (FailureAction::Inject, None));
        let source = injection.error.expect("refused");
        assert_eq!(source.errno(), Some(EINVAL));

        let error = VmError::InjectionFailed { vcpu: 0, source };
        assert_eq!(error.code(), "ERR_INJECTION_FAILED");
        assert_eq!(
            (error.syscall(), error.errno()),
            (Some("KVM_SET_ONE_REG"), Some(EINVAL))
        );
        let exit = machine.wait().expect("ends");
        assert_eq!(
            (exit.reason, exit.vcpu, &exit.error),
            (ExitReason::Failed, Some(0), &Some(error.clone()))
        );
        assert_eq!(machine.vm.state(), VmState::Failed);
        assert!(
            machine
                .kinds()
                .contains(&EventKind::VcpuFailed { vcpu: 0, error })
        );
        assert_eq!(
            machine.registers(0),
            Registers {
                pc: CONSUMER,
                pstate: EL0T,
                elr: 0,
                spsr: 0,
                esr: 0,
                far: 0
            },
            "{register}: the guest is as it was, and no sentinel is left behind"
        );
    }
}

#[test]
fn an_abort_that_waits_and_cannot_be_injected_fails_the_machine() {
    let refuse = Step::RefuseRegister {
        register: RegId::ESR_EL1,
        errno: EINVAL,
    };
    let mut machine = Machine::started(PAUSE, vec![guest([refuse, ignored(DATA_ABORT, EL0T)])]);
    machine.reaches(VmState::Paused);
    let by_hand = machine.inject(0, Fidelity::Restored).expect("tried");
    assert!(
        matches!(by_hand.error, Some(InjectionError::Kvm(_))),
        "the answer says that it did not happen"
    );
    machine.resume().expect("paused");
    let exit = machine.wait().expect("ends");
    assert_eq!(exit.reason, ExitReason::Failed);
    assert_eq!(exit.error.map(|error| error.code()), Some("ERR_INJECTION_FAILED"));
}

#[test]
fn an_injection_by_hand_that_failed_can_be_tried_again() {
    let refuse = Step::RefuseRegister {
        register: RegId::PC,
        errno: EINVAL,
    };
    let mut machine = Machine::started(
        PAUSE,
        vec![guest([refuse, REFUSED, Step::Sea(abort(DATA_ABORT))])],
    );
    machine.reaches(VmState::Paused);
    let first = machine.inject(0, Fidelity::Restored).expect("tried");
    assert!(first.error.is_some(), "by events refused, by registers refused");
    // The kernel refuses one injection; the second goes its way.
    let second = machine
        .inject(0, Fidelity::Restored)
        .expect("the access still waits");
    assert_eq!((second.method, second.error), (InjectionMethod::VcpuEvents, None));
    assert_eq!(machine.get(0, "pc"), Ok(VBAR + 0x400));
}
