//! A guest that is told of its lost pages, before its own kernel gets the abort.

use super::*;

/// A guest that is told of its lost pages by error records. With `busy` it has one to read already.
fn told(busy: bool) -> RunContext {
    let memory = Arc::new(seawall_kvm::GuestMemory::create(16 << 20, None).expect("memory"));
    let way = Way::Ghes(Box::new(ErrorSources::new(0x8080_0000, None)));
    let notifier = GuestNotifier::new(way, memory, mpsc::channel().0);
    if busy {
        notifier.tell_by_interrupt((Gpa::from_bits(0x8020_0000), 4096), None);
    }
    let mut context = context(RecoverablePolicy::Inject);
    context.policy.defer = Duration::from_millis(20);
    context.notifier = Some(notifier);
    context
}

pub(super) fn in_the_guests_kernel(exits: impl IntoIterator<Item = VcpuExit>) -> FakeVcpu {
    let mut vcpu = FakeVcpu::with_exits(exits);
    vcpu.registers.insert(RegId::PSTATE, 0x6000_0005);
    vcpu
}

#[test]
fn an_access_whose_page_the_guest_was_not_told_of_yet_is_not_done_without_it() {
    let context = told(true);
    let mut position = VcpuPosition::default();
    let mut vcpu = in_the_guests_kernel([SEA]);
    run(&mut vcpu, &mut position, &context);
    let first = failures(&context);
    assert_eq!((first[0].action, first[0].notified), (FailureAction::Defer, None));
    // A handler of an interrupt writes to the console.
    vcpu.registers.insert(RegId::PC, 0x55_5550);
    run(&mut vcpu, &mut position, &context);
    assert_eq!(failures(&context), []);
}

#[test]
fn two_pages_in_turn_come_to_the_end_of_their_time() {
    let context = told(false);
    let other = VcpuExit::MemoryErrorSignal(MemoryErrorSignal {
        code: SignalCode::ActionRequired,
        offset: 0x20_0000,
        lsb: 12,
    });
    // Two tasks of one vCPU, for four times as long as an access may be put off.
    let exits = std::iter::once(SEA).chain((0..40).flat_map(|_| [other, other, SIGNAL, SIGNAL]));
    run(
        &mut in_the_guests_kernel(exits),
        &mut VcpuPosition::default(),
        &context,
    );
    let failures = failures(&context);
    assert!(failures.iter().any(|failure| failure.injection.is_some()));
    let is_retired = |failure: &&MemoryFailure| {
        failure
            .deferral
            .is_some_and(|deferral| deferral.outcome == DeferralOutcome::Retired)
    };
    assert_eq!(
        failures.iter().filter(is_retired).count(),
        0,
        "nobody has read anything"
    );
}

#[test]
fn an_abort_of_one_kind_waits_like_any_other_and_is_of_that_kind() {
    let mut context = told(false);
    context.policy.recoverable = RecoverablePolicy::Pause;
    let mut position = VcpuPosition::default();
    let mut vcpu = in_the_guests_kernel([SEA]);
    run(&mut vcpu, &mut position, &context);
    let decisions = Decisions::from([(1, Decision::Inject(Some(AbortKind::Instruction)))]);
    let mailbox = Arc::new(Mailbox::default());
    mailbox.request_park();
    let mut vcpu = in_the_guests_kernel((0..200).map(|_| SIGNAL));
    position.run(7, &mut vcpu, &context, &mailbox, &decisions);
    let failures = failures(&context);
    let actions: Vec<_> = failures.iter().map(|failure| failure.action).collect();
    assert_eq!(
        actions[..3],
        [FailureAction::Pause, FailureAction::Defer, FailureAction::Inject]
    );
    let injection = failures[2].injection.as_ref().expect("its time was over");
    let esr = injection.esr.expect("it was taken");
    assert_eq!(
        esr.exception_class().bits() >> 1,
        0x20 >> 1,
        "an instruction abort"
    );
}

#[test]
fn a_guest_that_gets_an_serror_is_told_of_its_page_too() {
    let mut context = told(false);
    context.policy.recoverable = RecoverablePolicy::Pause;
    let mut position = VcpuPosition::default();
    run(&mut in_the_guests_kernel([SEA]), &mut position, &context);
    let decisions = Decisions::from([(1, Decision::InjectSError(None))]);
    let mailbox = Arc::new(Mailbox::default());
    mailbox.request_park();
    position.run(7, &mut in_the_guests_kernel([]), &context, &mailbox, &decisions);
    assert_eq!(failures(&context)[1].notified.map(|told| told.acked), Some(None));
}
