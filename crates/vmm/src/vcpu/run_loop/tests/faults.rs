//! A kernel that fails where it hardly ever does: what the guest has lost is recorded all the same.

use seawall_kvm::KvmError;

use super::*;
use crate::backend::QuarantineError;
use crate::backend::fake::Write;

/// The one failure of a vCPU that ended as failed, with its page out of reach.
fn contained(vcpu: &mut FakeVcpu, position: &mut VcpuPosition, context: &RunContext) -> MemoryFailure {
    let reason = run(vcpu, position, context);
    assert!(
        matches!(&reason, ParkReason::Failed(error) if error.code() == "ERR_KVM_IOCTL"),
        "{reason:?}"
    );
    assert_eq!(context.page_state(Some(LOST)), Some(PageState::Quarantined));
    let failure = failures(context).pop().expect("it is told");
    assert_eq!(failure.source, FailureSource::Sea);
    assert_eq!(failure.injection, None);
    failure
}

#[test]
fn an_error_whose_consumer_cannot_be_read_is_recorded_contained_and_told() {
    for register in [RegId::PC, RegId::PSTATE] {
        for policy in [RecoverablePolicy::Inject, RecoverablePolicy::Pause] {
            let context = context(policy);
            let mut vcpu = FakeVcpu::with_exits([SEA]);
            vcpu.unreadable.push((register, EINVAL));
            let failure = contained(&mut vcpu, &mut VcpuPosition::default(), &context);
            assert_eq!(failure.error.consumer, None, "{register}");
            assert_eq!(failure.action, FailureAction::Stop);
            assert_eq!(vcpu.writes, []);
            assert_eq!(context.pending().len(), 1, "its abort waits");
        }
    }
}

#[test]
fn an_error_that_a_deferral_meets_while_no_register_can_be_read_is_recorded_too() {
    let context = context(RecoverablePolicy::Inject);
    let mut position = VcpuPosition::default();
    let other = VcpuExit::ArmSea(SeaExit {
        esr: DATA_ABORT,
        gva: None,
        gpa: Some(Gpa::from_bits(0x8018_0000)),
    });
    let mut context = context;
    context.policy.recoverable = RecoverablePolicy::Pause;
    run(&mut FakeVcpu::with_exits([other]), &mut position, &context);
    let decisions = Decisions::from([(1, Decision::Defer)]);
    let mailbox = Arc::new(Mailbox::default());
    mailbox.request_park();
    position.run(7, &mut FakeVcpu::with_exits([]), &context, &mailbox, &decisions);
    assert!(position.deferral.is_some());
    let mut vcpu = FakeVcpu::with_exits([SEA]);
    vcpu.unreadable.push((RegId::PC, EINVAL));
    contained(&mut vcpu, &mut position, &context);
}

#[test]
fn an_error_whose_row_of_aborts_cannot_be_known_is_recorded_too() {
    // A fetch without a page: whether it is that of the handler again, VBAR_EL1 says.
    let fetch = VcpuExit::ArmSea(SeaExit {
        esr: Esr::from_bits(0x8200_0014),
        gva: None,
        gpa: None,
    });
    let context = context(RecoverablePolicy::Inject);
    let mut position = VcpuPosition::default();
    let mut vcpu = FakeVcpu::with_exits([fetch]);
    run(&mut vcpu, &mut position, &context);
    let pc = vcpu.get(RegId::ELR_EL1);
    let mut vcpu = FakeVcpu::with_exits([fetch]);
    vcpu.registers.insert(RegId::PC, pc);
    vcpu.unreadable.push((RegId::VBAR_EL1, EINVAL));
    let reason = run(&mut vcpu, &mut position, &context);
    assert!(matches!(&reason, ParkReason::Failed(error) if error.code() == "ERR_KVM_IOCTL"));
    assert_eq!(context.ledger().totals().failures, 2);
    assert_eq!(failures(&context).len(), 2);
}

#[test]
fn a_run_that_fails_ends_the_vcpu_with_what_the_kernel_said() {
    // EPERM, EIO, ENOEXEC, EBADF, EAGAIN, ENOMEM, EBUSY, ENODEV, EINVAL, ENOSYS, and a number that has no name.
    for (errno, code) in [
        (1, "ERR_KVM_IOCTL"),
        (5, "ERR_KVM_IOCTL"),
        (8, "ERR_KVM_IOCTL"),
        (9, "ERR_KVM_IOCTL"),
        (11, "ERR_OUT_OF_RESOURCES"),
        (12, "ERR_OUT_OF_RESOURCES"),
        (16, "ERR_KVM_IOCTL"),
        (19, "ERR_KVM_IOCTL"),
        (22, "ERR_KVM_IOCTL"),
        (38, "ERR_KVM_IOCTL"),
        (1234, "ERR_KVM_IOCTL"),
    ] {
        let (mut vcpu, _stays) = FakeVcpu::new();
        vcpu.failing_runs = 1;
        vcpu.run_errno = Errno(errno);
        let (reason, events) = run_once(&mut vcpu);
        let ParkReason::Failed(error) = reason else {
            panic!("{reason:?}")
        };
        assert_eq!((error.code(), error.errno()), (code, Some(Errno(errno))));
        assert_eq!(error.syscall(), Some("KVM_RUN"));
        assert_eq!(
            (events.len(), vcpu.entries.len()),
            (0, 1),
            "it is not tried again"
        );
    }
}

#[test]
fn a_storm_of_interruptions_keeps_no_error_from_the_guest() {
    let storm = std::iter::repeat_n(VcpuExit::Interrupted, 10_000);
    let mut vcpu = FakeVcpu::with_exits(storm.clone().chain([SEA]).chain(storm));
    let context = context(RecoverablePolicy::Pause);
    let mailbox = Arc::new(Mailbox::default());
    let mut position = VcpuPosition::default();
    let reason = position.run(7, &mut vcpu, &context, &mailbox, &Decisions::new());
    assert_eq!(reason, ParkReason::MemoryErrorPauses);
    assert_eq!(vcpu.entries.len(), 10_001);
    assert_eq!(failures(&context).len(), 1);
    assert_eq!(run(&mut vcpu, &mut position, &context), ParkReason::Requested);
    assert_eq!(vcpu.get(RegId::ESR_EL1), DATA_ABORT.bits());
}

#[test]
fn an_abort_that_was_injected_is_told_whatever_cannot_be_read_afterwards() {
    // A fetch without a page: whether it is that of the handler again, VBAR_EL1 says.
    let fetch = VcpuExit::ArmSea(SeaExit {
        esr: Esr::from_bits(0x8200_0014),
        gva: None,
        gpa: None,
    });
    for (exit, register, completed) in [(SIGNAL, RegId::FAR_EL1, false), (fetch, RegId::VBAR_EL1, true)] {
        let context = context(RecoverablePolicy::Inject);
        let mut position = VcpuPosition::default();
        let mut vcpu = FakeVcpu::with_exits([fetch]);
        run(&mut vcpu, &mut position, &context);
        failures(&context);
        let mut vcpu = FakeVcpu::with_exits([exit]);
        vcpu.unreadable_after_injection = Some(register);
        let reason = run(&mut vcpu, &mut position, &context);
        assert_eq!(reason == ParkReason::Requested, completed, "{reason:?}");
        let injection = failures(&context).pop().and_then(|failure| failure.injection);
        let injection = injection.expect("it is told");
        assert!(injection.entered());
        assert_eq!(injection.error.is_none(), completed);
    }
}

/// A quarantine that takes nothing.
#[derive(Debug)]
struct Refuses(QuarantineError);

impl PageQuarantine for Refuses {
    fn take(&self, _: u64, _: u64) -> Result<crate::event::QuarantineMethod, QuarantineError> {
        Err(self.0.clone())
    }

    fn settle(&self) {}

    fn method(&self, _: u64) -> Option<crate::event::QuarantineMethod> {
        None
    }

    fn replace(&self, _: u64, _: u64) -> Result<(), QuarantineError> {
        Err(self.0.clone())
    }

    fn retire(&self, _: Instant) -> Vec<(u64, bool)> {
        Vec::new()
    }
}

#[test]
fn a_page_that_cannot_be_taken_is_told_so_and_its_guest_gets_the_abort_each_time() {
    let refused = |syscall, errno| {
        QuarantineError::Kvm(KvmError::Syscall {
            syscall,
            errno: Errno(errno),
        })
    };
    for error in [
        QuarantineError::Full { limit: 4096 },
        QuarantineError::Stuck { vcpu: 1 },
        QuarantineError::HugePage,
        refused("userfaultfd", 24),
        refused("KVM_SET_USER_MEMORY_REGION", 12),
        refused("KVM_SET_USER_MEMORY_REGION", 28),
        refused("UFFDIO_POISON", 5),
    ] {
        let mut context = context(RecoverablePolicy::Inject);
        context.quarantine = Box::new(Refuses(error.clone()));
        let mut vcpu = FakeVcpu::with_exits([SEA, SEA]);
        assert_eq!(
            run(&mut vcpu, &mut VcpuPosition::default(), &context),
            ParkReason::Requested
        );
        let failures = failures(&context);
        assert_eq!(failures.len(), 2);
        for failure in &failures {
            assert_eq!(
                (failure.quarantine, &failure.quarantine_error),
                (None, &Some(error.clone()))
            );
            assert_eq!(failure.action, FailureAction::Inject);
            assert!(
                failure
                    .injection
                    .as_ref()
                    .is_some_and(|injection| injection.error.is_none())
            );
        }
        assert_eq!(failures[1].page.map(|hit| hit.page.hits), Some(2));
        assert_eq!(
            context.page_state(Some(LOST)),
            Some(PageState::Poisoned),
            "it is still in reach"
        );
    }
}

#[test]
fn an_injection_that_fails_anywhere_is_told_and_the_guest_does_not_go_on() {
    let kernels = [
        KernelInjection::Enters,
        KernelInjection::Ignores,
        KernelInjection::Refuses,
    ];
    let mut failed = 0;
    for injection in kernels {
        for write in [Write::Fails, Write::IsLost] {
            for number in 0..10 {
                let context = context(RecoverablePolicy::Inject);
                let mut vcpu = FakeVcpu::with_exits([VcpuExit::ArmSea(SeaExit {
                    esr: Esr::from_bits(0x9200_1850),
                    gva: None,
                    gpa: Some(LOST),
                })]);
                vcpu.injection = injection;
                vcpu.bad_write = Some((number, write));
                let reason = run(&mut vcpu, &mut VcpuPosition::default(), &context);
                let told = failures(&context)
                    .pop()
                    .and_then(|failure| failure.injection)
                    .expect("it is told");
                let case = format!("{injection:?}, write {number} {write:?}");
                match (reason, &told.error) {
                    (ParkReason::Requested, None) => {
                        assert_eq!(vcpu.get(RegId::ESR_EL1), told.esr.map_or(0, Esr::bits), "{case}");
                    }
                    (ParkReason::Failed(VmError::InjectionFailed { .. }), Some(_)) => {
                        failed += 1;
                        assert_eq!(vcpu.entries.len(), 1, "{case}");
                    }
                    (reason, error) => panic!("{case}: {reason:?}, {error:?}"),
                }
                assert_eq!(
                    context.page_state(Some(LOST)),
                    Some(PageState::Quarantined),
                    "{case}"
                );
            }
        }
    }
    assert!(failed > 10, "{failed}");
}
