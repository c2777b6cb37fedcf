//! Memory errors that wait for somebody: paused, looked at, resumed; nothing is lost and nothing happens twice.

use seawall_arm64::{AbortKind, Esr};
use seawall_vmm::sea::{Decision, FailureAction, Fidelity};
use seawall_vmm::{
    DecidedBy, EventKind, ExitReason, InjectionMethod, RecoverablePolicy, Step, UncontainablePolicy, VmState,
};

use crate::harness::{
    CONSUMER, DATA_ABORT, EL0T, EL1H, FAR, INJECT, Machine, PAUSE, Registers, UNCONTAINABLE, VBAR, abort,
    abort_on_page, code, guest, policy,
};

/// External, SET UEO, WnR: a syndrome the kernel alone does not give back.
const WRITE_ABORT: u64 = 0x9200_1850;

/// A machine that has paused at a memory error, and prints when its handler runs.
fn paused(esr: u64) -> Machine {
    let steps = guest([
        Step::Sea(abort(esr)),
        Step::Print("esr={esr_el1} elr={elr_el1}\n".to_owned()),
    ]);
    let mut machine = Machine::started(PAUSE, vec![steps]);
    machine.reaches(VmState::Paused);
    machine
}

const BEFORE: Registers = Registers {
    pc: CONSUMER,
    pstate: EL0T,
    elr: 0,
    spsr: 0,
    esr: 0,
    far: 0,
};
const AFTER: Registers = Registers {
    pc: VBAR + 0x400,
    pstate: 0x6000_03c5,
    elr: CONSUMER,
    spsr: EL0T,
    esr: WRITE_ABORT,
    far: FAR,
};

#[test]
fn an_abort_that_waits_is_injected_by_resume() {
    let mut machine = paused(WRITE_ABORT);
    assert_eq!(
        machine.registers(0),
        BEFORE,
        "nothing is done to a guest that waits"
    );
    let failure = machine.failures(1).remove(0);
    assert_eq!((failure.action, failure.injection), (FailureAction::Pause, None));
    machine.resume().expect("paused");
    machine.until("output of the handler", |machine| {
        machine.console.ends_with(b"\n")
    });
    machine.pause().expect("running");
    assert_eq!(machine.registers(0), AFTER);
    let [paused, resumed] = <[_; 2]>::try_from(machine.failures(2)).expect("two events");
    assert_eq!(resumed.action, FailureAction::Inject);
    assert!(
        resumed
            .injection
            .is_some_and(|injection| injection.error.is_none())
    );
    assert_eq!(
        (paused.error, paused.page, paused.ledger),
        (resumed.error, resumed.page, resumed.ledger),
        "the error was consumed once, so it is counted once"
    );
    assert_eq!(machine.vm.pending_failures(), []);
}

#[test]
fn who_resumes_may_decide() {
    for (decision, esr) in [
        (Decision::Inject(None), WRITE_ABORT),
        (Decision::Inject(Some(AbortKind::Data)), WRITE_ABORT),
        (Decision::Inject(Some(AbortKind::Instruction)), 0x8200_1810),
        (Decision::InjectSError(Some(0x0c11)), 0xbe00_0c11),
    ] {
        let mut machine = paused(WRITE_ABORT);
        let (seq, waiting) = machine.vm.pending_failures().remove(0);
        assert_eq!(waiting, machine.failures(1)[0]);
        machine.resume_with([(seq, decision)]).expect("paused");
        let resumed = machine.failures(2).remove(1);
        assert_eq!(resumed.decided_by, DecidedBy::Decide);
        machine.pause().expect("running");
        let registers = machine.registers(0);
        assert_eq!((registers.esr, registers.elr), (esr, CONSUMER), "{decision:?}");
    }
}

#[test]
fn a_decision_to_wait_waits_and_one_to_stop_stops() {
    let mut machine = paused(WRITE_ABORT);
    let (seq, _) = machine.vm.pending_failures().remove(0);
    machine.resume_with([(seq, Decision::Pause)]).expect("paused");
    machine.reaches(VmState::Paused);
    assert_eq!(machine.registers(0), BEFORE);
    assert_eq!(machine.vm.pending_failures().len(), 1);
    machine.resume_with([(seq, Decision::Stop)]).expect("paused");
    let exit = machine.wait().expect("stops");
    assert_eq!((exit.reason, exit.vcpu), (ExitReason::Policy, Some(0)));
}

#[test]
fn a_decision_that_cannot_be_carried_out_is_refused_and_the_vm_stays_paused() {
    let machine = paused(WRITE_ABORT);
    let (seq, _) = machine.vm.pending_failures().remove(0);
    for decisions in [
        vec![(seq + 1, Decision::Stop)],
        vec![(seq, Decision::InjectSError(Some(1 << 25)))],
    ] {
        assert_eq!(code(&machine.resume_with(decisions)), "ERR_INVALID_OPTION");
        assert_eq!(machine.vm.state(), VmState::Paused);
    }
    machine.resume().expect("paused");
}

#[test]
fn the_first_instruction_after_a_resume_is_the_handlers() {
    let mut machine = paused(WRITE_ABORT);
    machine.resume().expect("paused");
    machine.until("output of the handler", |machine| {
        machine.console.ends_with(b"\n")
    });
    assert_eq!(
        String::from_utf8_lossy(&machine.console),
        "esr=0x0000000092001850 elr=0x0000aaaa00001234\n"
    );
}

#[test]
fn an_uncontainable_abort_is_never_injected_by_a_resume() {
    let machine = paused(UNCONTAINABLE);
    let (seq, _) = machine.vm.pending_failures().remove(0);
    for decisions in [
        vec![],
        vec![(seq, Decision::Inject(None))],
        vec![(seq, Decision::InjectSError(None))],
    ] {
        assert_eq!(code(&machine.resume_with(decisions)), "ERR_INVALID_OPTION");
    }
    assert_eq!(machine.registers(0), BEFORE);
    machine.resume_with([(seq, Decision::Stop)]).expect("paused");
    assert_eq!(machine.wait().map(|exit| exit.reason), Ok(ExitReason::Policy));
}

#[test]
fn an_abort_injected_by_hand_is_not_injected_again() {
    for (fidelity, method, esr) in [
        (Fidelity::Kvm, InjectionMethod::VcpuEvents, DATA_ABORT),
        (
            Fidelity::Restored,
            InjectionMethod::VcpuEventsAndRegisters,
            WRITE_ABORT,
        ),
    ] {
        let machine = paused(WRITE_ABORT);
        let injection = machine.inject(0, fidelity).expect("an access waits");
        assert_eq!(
            (injection.method, injection.esr, &injection.error),
            (method, Some(Esr::from_bits(esr)), &None)
        );
        let injected = Registers { esr, ..AFTER };
        assert_eq!(machine.registers(0), injected);
        machine.resume().expect("paused");
        machine.pause().expect("running");
        assert_eq!(
            machine.registers(0),
            injected,
            "a second abort would point ELR_EL1 at the handler itself"
        );
    }
}

#[test]
fn an_access_aborts_once() {
    let machine = paused(DATA_ABORT);
    machine.inject(0, Fidelity::Restored).expect("an access waits");
    let again = machine.inject(0, Fidelity::Restored);
    assert_eq!(code(&again), "ERR_INVALID_INJECTION");
    assert_eq!(machine.get(0, "elr_el1"), Ok(CONSUMER));
}

#[test]
fn without_an_access_the_whole_entry_is_made_of_registers_and_has_no_address() {
    let mut kicked = Machine::started(INJECT, vec![guest([Step::Sea(abort(DATA_ABORT))])]);
    kicked.failures(1);
    kicked.pause().expect("running");
    for machine in [Machine::new(INJECT, vec![guest([])]), kicked] {
        let pc = machine.get(0, "pc").expect("does not run");
        let injection = machine.inject(0, Fidelity::Restored).expect("nothing else waits");
        assert_eq!(injection.method, InjectionMethod::Registers);
        let registers = machine.registers(0);
        assert_eq!(
            (registers.esr, registers.far, registers.elr),
            (0x9600_0410, 0, pc)
        );
        assert_eq!(
            code(&machine.inject(0, Fidelity::Restored)),
            "ERR_INVALID_INJECTION",
            "one at a time"
        );
    }
}

#[test]
fn a_wait_for_a_decision_survives_a_look_at_the_registers_of_others() {
    let mut machine = Machine::started(PAUSE, vec![guest([]), guest([Step::Sea(abort(WRITE_ABORT))])]);
    machine.reaches(VmState::Paused);
    machine.set(0, "x5", 5).expect("paused");
    machine.resume().expect("paused");
    machine.pause().expect("running");
    assert_eq!(machine.registers(1), AFTER);
    assert_eq!(machine.get(0, "esr_el1"), Ok(0), "the abort belongs to vCPU 1");
}

#[test]
fn the_class_of_a_late_abort_follows_the_state_it_is_taken_from() {
    let machine = paused(WRITE_ABORT);
    machine.set(0, "pstate", EL1H).expect("paused");
    machine.resume().expect("paused");
    machine.pause().expect("running");
    assert_eq!(
        machine.registers(0),
        Registers {
            pc: VBAR + 0x200,
            pstate: EL1H,
            spsr: EL1H,
            esr: 0x9600_1850,
            ..AFTER
        },
        "the vector of the same exception level, and so its class"
    );
}

#[test]
fn a_machine_that_waits_can_be_stopped() {
    let machine = paused(DATA_ABORT);
    let exit = machine.stop().expect("paused");
    assert_eq!((exit.reason, exit.vcpu), (ExitReason::Requested, None));
    assert_eq!(machine.registers(0), BEFORE, "and was not told of the error");
}

#[test]
fn errors_at_once_wait_all() {
    let aborts = |page| guest([Step::Sea(abort_on_page(page, WRITE_ABORT))]);
    let mut machine = Machine::started(PAUSE, vec![aborts(0), aborts(1), aborts(2)]);
    // Those that were kicked before they got there consume theirs after a resume: three times at most.
    for _ in 0..3 {
        machine.reaches(VmState::Paused);
        let consumed = machine
            .seen_failures()
            .iter()
            .filter(|failure| failure.injection.is_none())
            .count();
        machine.resume().expect("paused");
        if consumed == 3 {
            break;
        }
    }
    // Each was told when it waited and when it was injected.
    machine.failures(6);
    machine.pause().expect("running");
    for vcpu in 0..3 {
        assert_eq!(machine.registers(vcpu), AFTER, "vCPU {vcpu}");
    }
}

#[test]
fn a_stop_beats_a_pause() {
    // vCPU 0 pauses at what it can contain, vCPU 1 stops at what it cannot.
    let mut machine = Machine::started(
        policy(RecoverablePolicy::Pause, UncontainablePolicy::Stop),
        vec![
            guest([Step::Sea(abort(DATA_ABORT))]),
            guest([Step::Sea(abort_on_page(1, UNCONTAINABLE))]),
        ],
    );
    machine.until("pause or stop", |machine| {
        matches!(machine.vm.state(), VmState::Paused | VmState::Stopped)
    });
    if machine.vm.state() == VmState::Paused {
        machine.resume().expect("paused");
    }
    let exit = machine.wait().expect("stops");
    assert_eq!((exit.reason, exit.vcpu), (ExitReason::Policy, Some(1)));
    let exits = machine
        .kinds()
        .into_iter()
        .filter(|kind| matches!(kind, EventKind::Exit(_)));
    assert_eq!(exits.count(), 1);
}
