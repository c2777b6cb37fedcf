//! Several vCPUs in one machine: one ledger, one state, many threads.

use seawall_arm64::{Gpa, Gva};
use seawall_kvm::SystemEventKind;
use seawall_vmm::{AbortStep, ExitReason, Step, VmState};

use crate::harness::{DATA_ABORT, FAR, INJECT, Machine, PAGE, VBAR, abort, guest};

#[test]
fn two_vcpus_on_one_page_are_one_page_and_two_failures() {
    for _ in 0..50 {
        let second = AbortStep {
            far: Gva::from_bits(FAR + 8),
            ..abort(DATA_ABORT)
        };
        let mut machine = Machine::started(
            INJECT,
            vec![guest([Step::Sea(abort(DATA_ABORT))]), guest([Step::Sea(second)])],
        );
        let failures = machine.failures(2);
        let mut hits: Vec<_> = failures
            .iter()
            .filter_map(|failure| failure.page)
            .map(|hit| (hit.page.hits, hit.first))
            .collect();
        hits.sort_unstable();
        assert_eq!(hits, [(1, true), (2, false)], "one of them was first");
        let most = failures.iter().map(|failure| failure.ledger.failures).max();
        assert_eq!(most, Some(2));
        assert!(failures.iter().all(|failure| failure.ledger.distinct_pages == 1));
        machine.pause().expect("both guests go on");
        assert_eq!(machine.get(0, "far_el1"), Ok(FAR));
        assert_eq!(machine.get(1, "far_el1"), Ok(FAR + 8));
        assert_eq!(machine.close().expect("closes").unretired_host_pages, 1);
    }
}

#[test]
fn an_error_of_one_vcpu_leaves_the_others_running() {
    let mut machine = Machine::started(
        INJECT,
        vec![
            guest([Step::Sea(abort(DATA_ABORT))]),
            guest([Step::Print("computing\n".to_owned())]),
        ],
    );
    machine.failures(1);
    machine.until("output", |machine| machine.console == b"computing\n");
    assert_eq!(machine.vm.state(), VmState::Running);
    machine.pause().expect("running");
    assert_eq!(machine.get(0, "pc"), Ok(VBAR + 0x400));
    assert_eq!(machine.get(1, "esr_el1"), Ok(0));
}

#[test]
fn each_vcpu_has_its_own_pages() {
    let vcpus = (0..4u64).map(|vcpu| {
        guest([Step::Sea(AbortStep {
            gpa: Some(Gpa::from_bits(PAGE + vcpu * 4096)),
            ..abort(DATA_ABORT)
        })])
    });
    let mut machine = Machine::started(INJECT, vcpus.collect());
    let failures = machine.failures(4);
    for failure in &failures {
        let page = PAGE + u64::from(failure.error.vcpu.expect("a vCPU")) * 4096;
        assert_eq!(failure.page.map(|hit| hit.page.gpa.bits()), Some(page));
    }
    assert_eq!(machine.close().expect("closes").unretired_host_pages, 4);
}

#[test]
fn a_machine_of_512_vcpus_runs_pauses_and_stops() {
    let mut options = crate::harness::options(INJECT, vec![guest([])]);
    options.vcpus = 512;
    let machine = Machine::with(options);
    machine.start().expect("created");
    machine.pause().expect("running");
    assert_eq!(machine.get(511, "pstate"), Ok(0x3c5));
    machine.resume().expect("paused");
    machine.stop().expect("running");
    machine.close().expect("stopped");
}

#[test]
fn a_guest_that_ends_while_others_spin_takes_them_along() {
    let machine = Machine::started(
        INJECT,
        vec![
            guest([]),
            guest([]),
            vec![Step::SystemEvent(SystemEventKind::Reset)],
        ],
    );
    let exit = machine.wait().expect("ends");
    assert_eq!((exit.reason, exit.vcpu), (ExitReason::Reset, Some(2)));
    machine.get(0, "pc").expect("parked");
}

#[test]
fn a_pause_between_errors_loses_none() {
    const ERRORS: usize = 40;
    let aborts = |vcpu: u64| {
        let steps = (0..ERRORS as u64).flat_map(move |index| {
            // Some output in between, so that pauses fall everywhere.
            let abort = AbortStep {
                gpa: Some(Gpa::from_bits(PAGE + (vcpu << 20 | index << 12))),
                ..abort(DATA_ABORT)
            };
            [Step::Sea(abort), Step::Print(".".to_owned())]
        });
        guest(steps)
    };
    let mut machine = Machine::started(INJECT, vec![aborts(0), aborts(1)]);
    for _ in 0..25 {
        machine.pause().expect("running");
        machine.get(0, "pc").expect("paused");
        machine.resume().expect("paused");
    }
    let failures = machine.failures(2 * ERRORS);
    assert_eq!(failures.len(), 2 * ERRORS);
    let most = failures.iter().map(|failure| failure.ledger.distinct_pages).max();
    assert_eq!(most, Some(2 * ERRORS as u64), "no abort twice, none lost");
    machine.until("output", |machine| machine.console.len() == 2 * ERRORS);
}
