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

const SIGNAL: VcpuExit = VcpuExit::MemoryErrorSignal(MemoryErrorSignal {
    code: SignalCode::ActionRequired,
    offset: 0x10_0000,
    lsb: 12,
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

/// Puts fresh memory in the place of the page that [`SEA`] loses, as the control thread does.
fn replace(context: &RunContext) {
    context.quarantine.replace(0x10_0000, 4096).expect("it was taken");
    let state = crate::sea::PageState::Replaced;
    context.ledger().set_state(Gpa::from_bits(0x8010_0000), state);
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

mod arbitrary;
mod deferral;
mod faults;
mod hostile;
mod told;
