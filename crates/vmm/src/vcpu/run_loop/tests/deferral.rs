//! An access that is put off runs again without its abort, for a time.

use super::*;

/// Runs a vCPU whose first error is deferred; what it meets then.
fn deferred(limit: Duration, exits: impl IntoIterator<Item = VcpuExit>) -> (Vec<MemoryFailure>, FakeVcpu) {
    let mut context = context(RecoverablePolicy::Pause);
    context.policy.defer = limit;
    let mut position = VcpuPosition::default();
    let mut vcpu = FakeVcpu::with_exits([SEA].into_iter().chain(exits));
    assert_eq!(
        run(&mut vcpu, &mut position, &context),
        ParkReason::MemoryErrorPauses
    );
    let decisions = Decisions::from([(1, Decision::Defer)]);
    let mailbox = Arc::new(Mailbox::default());
    mailbox.request_park();
    // Until there are no exits left, or another error pauses it.
    position.run(7, &mut vcpu, &context, &mailbox, &decisions);
    (failures(&context), vcpu)
}

#[test]
fn a_deferred_access_gets_its_whole_abort_when_its_tries_are_over() {
    let (failures, vcpu) = deferred(Duration::from_secs(60), std::iter::repeat_n(SIGNAL, 101));
    let actions: Vec<_> = failures.iter().map(|failure| failure.action).collect();
    assert_eq!(
        actions,
        [FailureAction::Pause, FailureAction::Defer, FailureAction::Inject]
    );
    let report = failures[2].deferral.expect("it is over");
    assert_eq!((report.retries, report.outcome), (100, DeferralOutcome::Deadline));
    assert!(report.time >= Duration::from_millis(100));
    assert_eq!(
        failures[2].error.esr(),
        Some(DATA_ABORT),
        "not what the signal leaves of it"
    );
    assert_eq!(failures[2].ledger.failures, 1, "a retry is no failure of its own");
    assert_eq!(vcpu.get(RegId::ESR_EL1), DATA_ABORT.bits());
}

#[test]
fn a_deferral_ends_when_its_time_is_over_or_with_none_at_once() {
    let (failures, _) = deferred(Duration::from_millis(5), std::iter::repeat_n(SIGNAL, 20));
    let report = failures[2].deferral.expect("it is over");
    assert_eq!(report.outcome, DeferralOutcome::Deadline);
    assert!(report.retries <= 5, "{report:?}");
    let (failures, vcpu) = deferred(Duration::ZERO, []);
    assert_eq!((failures.len(), failures[1].action), (2, FailureAction::Inject));
    assert_eq!(vcpu.get(RegId::ESR_EL1), DATA_ABORT.bits());
}

#[test]
fn a_deferral_ends_when_the_vcpu_goes_on() {
    // An error on another page at the same instruction is another error.
    let elsewhere = VcpuExit::ArmSea(SeaExit {
        esr: DATA_ABORT,
        gva: None,
        gpa: Some(Gpa::from_bits(0x8010_1000)),
    });
    let (failures, _) = deferred(Duration::from_secs(60), [SIGNAL, elsewhere]);
    let report = failures[2].deferral.expect("it is over");
    assert_eq!((report.retries, report.outcome), (1, DeferralOutcome::Retired));
    assert_eq!(
        (failures[2].action, &failures[2].injection),
        (FailureAction::Defer, &None)
    );
    assert_eq!(failures[3].error.gpa, Some(Gpa::from_bits(0x8010_1000)));
}

#[test]
fn a_deferred_access_that_gets_worse_is_never_injected() {
    let worse = VcpuExit::ArmSea(SeaExit {
        esr: Esr::from_bits(0x9200_1010),
        gva: None,
        gpa: Some(Gpa::from_bits(0x8010_0000)),
    });
    let (failures, vcpu) = deferred(Duration::from_secs(60), [SIGNAL, worse]);
    let last = failures.last().expect("some");
    assert_eq!(
        (last.action, last.severity),
        (FailureAction::Stop, Severity::Fatal)
    );
    let report = last.deferral.expect("it is over");
    assert_eq!((report.retries, report.outcome), (1, DeferralOutcome::Deadline));
    assert_eq!(vcpu.writes, [], "nothing was injected");
}

#[test]
fn a_replaced_page_that_is_lost_again_is_no_retry_of_a_deferral() {
    let context = context(RecoverablePolicy::Pause);
    let mut position = VcpuPosition::default();
    run(&mut FakeVcpu::with_exits([SEA]), &mut position, &context);
    replace(&context);
    let mut vcpu = FakeVcpu::with_exits([SEA]);
    let decisions = Decisions::from([(1, Decision::Defer)]);
    let mailbox = Arc::new(Mailbox::default());
    mailbox.request_park();
    let reason = position.run(7, &mut vcpu, &context, &mailbox, &decisions);
    assert_eq!(reason, ParkReason::MemoryErrorPauses, "the policy decides anew");
    let failures = failures(&context);
    let last = failures.last().expect("it is told");
    assert_eq!((last.action, last.ledger.failures), (FailureAction::Pause, 2));
    let state = context.page_state(Some(LOST));
    assert_eq!(
        state,
        Some(crate::sea::PageState::Quarantined),
        "out of reach again"
    );
}

#[test]
fn the_time_of_a_deferral_stands_still_while_the_vm_is_paused() {
    let mut context = context(RecoverablePolicy::Pause);
    context.policy.defer = Duration::from_secs(3600);
    let mut position = VcpuPosition::default();
    run(&mut FakeVcpu::with_exits([SEA]), &mut position, &context);
    let decisions = Decisions::from([(1, Decision::Defer)]);
    let mailbox = Arc::new(Mailbox::default());
    mailbox.request_park();
    let mut vcpu = FakeVcpu::with_exits([SIGNAL]);
    position.run(7, &mut vcpu, &context, &mailbox, &decisions);
    context.policy.defer = Duration::from_millis(500);
    std::thread::sleep(Duration::from_millis(600));
    run(&mut FakeVcpu::with_exits([SIGNAL]), &mut position, &context);
    let failures = failures(&context);
    assert_eq!(failures.len(), 2, "the time is not over: {failures:?}");
}
