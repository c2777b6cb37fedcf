use std::time::Duration;

use seawall_arm64::{AbortKind, Esr, Gva};
use seawall_kvm::{Errno, MemoryErrorSignal, SeaExit, SignalCode};

use super::*;
use crate::backend::fake::{self, EINVAL, FakeVcpu, KernelInjection};
use crate::event::{DeferralOutcome, QuarantineMethod, QuarantineReport};
use crate::notifier::{ErrorSources, Way};
use crate::sea::{AbortRequest, FailureAction, RecoverablePolicy, Severity};

const UART_LINE_STATUS: Gpa = Gpa::from_bits(0x4000_2005);
const HOLE: Gpa = Gpa::from_bits(0x1000);
const LOST: Gpa = Gpa::from_bits(0x8010_0010);
const DATA_ABORT: Esr = Esr::from_bits(0x9200_0010);

const SEA: VcpuExit = VcpuExit::ArmSea(SeaExit {
    esr: DATA_ABORT,
    gva: Some(Gva::from_bits(FakeVcpu::FAR)),
    gpa: Some(Gpa::from_bits(0x8010_0000)),
});

fn context(recoverable: RecoverablePolicy) -> RunContext {
    fake::context(recoverable, Arc::new(Outbox::new(Box::new(|| {}))))
}

/// Runs a vCPU until it parks; once it has no exits left, it was kicked.
fn run(vcpu: &mut FakeVcpu, position: &mut VcpuPosition, context: &RunContext) -> ParkReason {
    let mailbox = Arc::new(Mailbox::default());
    mailbox.request_park();
    position.run(7, vcpu, context, &mailbox, &Decisions::new())
}

fn run_once(vcpu: &mut FakeVcpu) -> (ParkReason, Vec<EventKind>) {
    let context = context(RecoverablePolicy::Inject);
    let reason = run(vcpu, &mut VcpuPosition::default(), &context);
    let events = context.outbox.take_events();
    (reason, events.into_iter().map(|event| event.kind).collect())
}

const fn memory_fault(errno: Errno) -> VcpuExit {
    VcpuExit::MemoryFault {
        flags: 0,
        gpa: Gpa::from_bits(0x8010_0000),
        size: 4096,
        errno,
    }
}

fn failures(context: &RunContext) -> Vec<MemoryFailure> {
    let events = context.outbox.take_events().into_iter();
    events
        .filter_map(|event| match event.kind {
            EventKind::MemoryFailure(failure) => Some(*failure),
            _ => None,
        })
        .collect()
}

#[test]
fn an_exit_that_nobody_can_handle_ends_the_vcpu_with_its_numbers() {
    let missing = memory_fault(Errno::FAULT);
    let entry = VcpuExit::FailEntry {
        hardware_entry_failure_reason: 1,
        cpu: 3,
    };
    for (exit, message, errno) in [
        (
            missing,
            "KVM_EXIT_MEMORY_FAULT at 0x80100000, 0x1000 bytes (EFAULT)",
            Some(Errno::FAULT),
        ),
        (entry, "KVM_EXIT_FAIL_ENTRY, hardware reason 0x1 on CPU 3", None),
        (
            VcpuExit::InternalError { suberror: 2 },
            "KVM_EXIT_INTERNAL_ERROR, suberror 2",
            None,
        ),
        (
            VcpuExit::Unknown {
                reason: 99,
                payload: [0, 0x10, u64::MAX, 1],
            },
            "exit reason 99 with payload [0x0, 0x10, 0xffffffffffffffff, 0x1]",
            None,
        ),
    ] {
        let mut vcpu = FakeVcpu::with_exits([exit]);
        let (reason, events) = run_once(&mut vcpu);
        let ParkReason::Failed(error) = reason else {
            panic!("{reason:?}")
        };
        assert_eq!(error.code(), "ERR_KVM_IOCTL");
        assert!(error.to_string().starts_with("vCPU 7 left the guest"), "{error}");
        assert!(error.to_string().ends_with(message), "{error}");
        assert_eq!(error.errno(), errno);
        assert_eq!(error.syscall(), errno.map(|_| "KVM_RUN"));
        assert_eq!((events.len(), vcpu.writes.len()), (0, 0));
    }
}

#[test]
fn the_answer_of_a_device_goes_into_the_next_run_and_only_that() {
    let read = VcpuExit::MmioRead {
        gpa: UART_LINE_STATUS,
        len: 1,
    };
    let mut vcpu = FakeVcpu::with_exits([read, VcpuExit::Interrupted]);
    assert_eq!(run_once(&mut vcpu).0, ParkReason::Requested);
    // 0x60: the transmitter is empty.
    assert_eq!(
        vcpu.entries,
        [VcpuEntry::Run, VcpuEntry::MmioRead([0x60, 0, 0, 0, 0, 0, 0, 0])]
    );
}

#[test]
fn an_interruption_without_a_request_is_nothing() {
    let mut vcpu = FakeVcpu::with_exits([VcpuExit::Interrupted, SEA]);
    let context = context(RecoverablePolicy::Pause);
    let mailbox = Arc::new(Mailbox::default());
    let reason = VcpuPosition::default().run(7, &mut vcpu, &context, &mailbox, &Decisions::new());
    assert_eq!(reason, ParkReason::MemoryErrorPauses);
    assert_eq!(vcpu.entries.len(), 2);
}

#[test]
fn a_load_that_nobody_claims_has_no_answer_but_an_abort() {
    for exit in [
        VcpuExit::MmioRead { gpa: HOLE, len: 8 },
        VcpuExit::Ldst64b {
            esr_iss: 0x9300_0840,
            gpa: HOLE,
        },
    ] {
        let mut vcpu = FakeVcpu::with_exits([exit]);
        let (reason, events) = run_once(&mut vcpu);
        assert_eq!(reason, ParkReason::Requested);
        assert_eq!(
            vcpu.entries,
            [VcpuEntry::Run, VcpuEntry::Retry],
            "it is not completed"
        );
        // The syndrome of the 64-byte access says that it was a store.
        let (kind, write, esr) = match exit {
            VcpuExit::Ldst64b { .. } => (AccessKind::Ldst64b, Some(true), 0x9200_0050),
            _ => (AccessKind::Mmio, Some(false), 0x9200_0010),
        };
        assert_eq!(vcpu.get(RegId::ESR_EL1), esr);
        assert_eq!(vcpu.get(RegId::FAR_EL1), FakeVcpu::FAR, "as the kernel wrote it");
        assert_eq!(
            events,
            [EventKind::UnclaimedAccess(UnclaimedAccess {
                vcpu: 7,
                kind,
                gpa: HOLE,
                write,
                action: UnclaimedAccessPolicy::Abort,
            })]
        );
    }
}

#[test]
fn an_unclaimed_access_whose_address_only_the_kernel_knows_is_marked_so() {
    let mut vcpu = FakeVcpu::with_exits([VcpuExit::MmioRead { gpa: HOLE, len: 8 }]);
    vcpu.injection = KernelInjection::Ignores;
    assert_eq!(run_once(&mut vcpu).0, ParkReason::Requested);
    assert_eq!(vcpu.get(RegId::ESR_EL1), 0x9200_0410, "FnV");
    assert_eq!(vcpu.get(RegId::FAR_EL1), 0);
}

#[test]
fn an_abort_that_waits_is_injected_before_the_guest_runs() {
    let mut vcpu = FakeVcpu::with_exits([SEA]);
    let context = context(RecoverablePolicy::Pause);
    let mut position = VcpuPosition::default();
    let paused = ParkReason::MemoryErrorPauses;
    assert_eq!(run(&mut vcpu, &mut position, &context), paused);
    assert_eq!((vcpu.entries.len(), vcpu.writes.len()), (1, 0));
    vcpu.injection = KernelInjection::Refuses;
    vcpu.unreadable.push((RegId::VBAR_EL1, EINVAL));
    let failed = run(&mut vcpu, &mut position, &context);
    assert!(
        matches!(
            &failed,
            ParkReason::Failed(VmError::InjectionFailed { vcpu: 7, .. })
        ),
        "{failed:?}"
    );
    assert_eq!(vcpu.entries.len(), 1, "the guest did not run without its abort");
}

#[test]
fn an_abort_that_the_kernel_took_but_we_could_not_complete_is_not_taken_again() {
    let mut vcpu = FakeVcpu::with_exits([VcpuExit::ArmSea(SeaExit {
        esr: Esr::from_bits(0x9200_1850),
        gva: None,
        gpa: None,
    })]);
    let context = context(RecoverablePolicy::Pause);
    let mut position = VcpuPosition::default();
    run(&mut vcpu, &mut position, &context);
    vcpu.bad_write = Some((0, crate::backend::fake::Write::Fails));
    let injection = position
        .inject_by_hand(&AbortRequest::of_kind(AbortKind::Data), &mut vcpu, &context)
        .expect("an access waits");
    assert!(injection.error.is_some());
    let handler = vcpu.get(RegId::PC);
    run(&mut vcpu, &mut position, &context);
    assert_eq!(
        (vcpu.get(RegId::PC), vcpu.get(RegId::ELR_EL1)),
        (handler, 0x40_1234)
    );
}

#[test]
fn memory_that_the_host_has_lost_is_the_guests_error_whichever_way_kvm_says_so() {
    let context = context(RecoverablePolicy::Inject);
    let mut vcpu = FakeVcpu::with_exits([memory_fault(Errno::HWPOISON), memory_fault(Errno::FAULT)]);
    assert_eq!(
        run(&mut vcpu, &mut VcpuPosition::default(), &context),
        ParkReason::Requested
    );
    let failures = failures(&context);
    let hosts = QuarantineReport {
        method: QuarantineMethod::Hwpoison,
        granule: 4096,
    };
    let seen: Vec<_> = failures
        .iter()
        .map(|failure| (failure.source, failure.quarantine))
        .collect();
    // The second one says nothing of poison, and is about a page that is known to be lost.
    assert_eq!(
        seen,
        [
            (FailureSource::SigbusAr, Some(hosts)),
            (FailureSource::QuarantinedPage, Some(hosts))
        ]
    );
    assert_eq!(vcpu.get(RegId::FAR_EL1), FakeVcpu::FAR);
}

#[test]
fn an_access_to_where_a_lost_page_was_is_a_memory_error_and_is_never_completed() {
    for (exit, esr) in [
        (VcpuExit::MmioRead { gpa: LOST, len: 8 }, 0x9200_0010),
        (
            VcpuExit::MmioWrite {
                gpa: LOST,
                data: [1; 8],
                len: 8,
            },
            0x9200_0050,
        ),
        (
            VcpuExit::Nisv {
                gpa: LOST,
                esr_iss: 0x46,
            },
            0x9200_0050,
        ),
    ] {
        let context = context(RecoverablePolicy::Inject);
        // The simulated quarantine plays the userfaultfd; here it is another one that was used for the page.
        let mut vcpu = FakeVcpu::with_exits([SEA, exit]);
        assert_eq!(
            run(&mut vcpu, &mut VcpuPosition::default(), &context),
            ParkReason::Requested
        );
        assert_eq!(vcpu.entries[2], VcpuEntry::Retry, "{exit:?}");
        assert_eq!(vcpu.get(RegId::ESR_EL1) & !(1 << 26), esr, "{exit:?}");
        let failures = failures(&context);
        assert_eq!(failures.len(), 2);
        assert_eq!(failures[1].source, FailureSource::QuarantinedPage);
        assert_eq!(
            failures[1].page.map(|hit| (hit.first, hit.page.hits)),
            Some((false, 2))
        );
        assert_eq!(failures[1].error.esr(), None, "the kernel reported none");
    }
}

#[test]
fn a_page_that_is_missing_for_a_moment_is_tried_again_and_not_for_ever() {
    for (failures, ends) in [(3, false), (4, true)] {
        let mut vcpu = FakeVcpu::with_exits([VcpuExit::SystemEvent {
            kind: SystemEventKind::Shutdown,
            flags: None,
        }]);
        vcpu.failing_runs = failures;
        let context = context(RecoverablePolicy::Inject);
        let mailbox = Arc::new(Mailbox::default());
        let reason = VcpuPosition::default().run(7, &mut vcpu, &context, &mailbox, &Decisions::new());
        match reason {
            ParkReason::Failed(error) => {
                assert!(ends, "{failures}");
                assert_eq!(
                    (error.code(), error.errno()),
                    ("ERR_KVM_IOCTL", Some(Errno::FAULT))
                );
            }
            reason => {
                assert_eq!(reason, ParkReason::SystemEvent(SystemEventKind::Shutdown));
                assert!(!ends, "{failures}");
            }
        }
    }
}

/// How often a vCPU gets an abort of this error, which names no page, until its limit of three ends the VM.
fn aborts_without_a_page(esr: u64) -> usize {
    let exit = VcpuExit::ArmSea(SeaExit {
        esr: Esr::from_bits(esr),
        gva: None,
        gpa: None,
    });
    let mut vcpu = FakeVcpu::with_exits([exit; 9]);
    let context = context(RecoverablePolicy::Inject);
    let reason = run(&mut vcpu, &mut VcpuPosition::default(), &context);
    let failures = failures(&context);
    assert_eq!(
        failures.last().map(|failure| failure.action) == Some(FailureAction::Stop),
        reason == ParkReason::PolicyStops
    );
    let injected = failures.iter().filter(|failure| failure.injection.is_some());
    injected.count()
}

#[test]
fn a_guest_that_cannot_fetch_its_handler_ends_and_one_that_copies_does_not() {
    // On a walk of the translation tables: in user mode, then in the handler of its abort, then three times in that of the latter.
    assert_eq!(aborts_without_a_page(0x8200_0014), 5);
    assert_eq!(aborts_without_a_page(0x9200_0014), 9);
}

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

const SIGNAL: VcpuExit = VcpuExit::MemoryErrorSignal(MemoryErrorSignal {
    code: SignalCode::ActionRequired,
    offset: 0x10_0000,
    lsb: 12,
});

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

/// Puts fresh memory in the place of the page that [`SEA`] loses, as the control thread does.
fn replace(context: &RunContext) {
    context.quarantine.replace(0x10_0000, 4096).expect("it was taken");
    let state = crate::sea::PageState::Replaced;
    context.ledger().set_state(Gpa::from_bits(0x8010_0000), state);
}

#[test]
fn an_access_that_left_the_guest_before_its_page_was_replaced_runs_again() {
    let context = context(RecoverablePolicy::Inject);
    let mut position = VcpuPosition::default();
    run(&mut FakeVcpu::with_exits([SEA]), &mut position, &context);
    replace(&context);
    let mut vcpu = FakeVcpu::with_exits([VcpuExit::MmioRead { gpa: LOST, len: 8 }]);
    assert_eq!(run(&mut vcpu, &mut position, &context), ParkReason::Requested);
    assert_eq!(vcpu.entries[1], VcpuEntry::Retry);
    assert_eq!(vcpu.writes, [], "there is no abort");
    assert_eq!(context.outbox.take_events().len(), 1, "that of the first error");
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
fn a_signal_of_before_its_page_was_replaced_is_not_an_error_of_the_new_page() {
    let context = context(RecoverablePolicy::Inject);
    let mut position = VcpuPosition::default();
    run(&mut FakeVcpu::with_exits([SEA]), &mut position, &context);
    replace(&context);
    let mut vcpu = FakeVcpu::with_exits([SIGNAL]);
    assert_eq!(run(&mut vcpu, &mut position, &context), ParkReason::Requested);
    assert_eq!(vcpu.writes, [], "there is no abort");
    assert!(context.is_replaced(LOST));
    // A new error is raised again by the access that runs again.
    run(&mut FakeVcpu::with_exits([SIGNAL]), &mut position, &context);
    let failures = failures(&context);
    let sources: Vec<_> = failures.iter().map(|failure| failure.source).collect();
    assert_eq!(sources, [FailureSource::Sea, FailureSource::SigbusAr]);
    assert!(!context.is_replaced(LOST));
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

fn in_the_guests_kernel(exits: impl IntoIterator<Item = VcpuExit>) -> FakeVcpu {
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

mod arbitrary;
mod faults;
mod hostile;
