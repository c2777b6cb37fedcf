use seawall_arm64::Gva;
use seawall_kvm::{Errno, SeaExit};

use super::*;
use crate::backend::fake::{self, EINVAL, FakeVcpu, KernelInjection};
use crate::sea::RecoverablePolicy;

const UART_LINE_STATUS: Gpa = Gpa::from_bits(0x4000_2005);
const HOLE: Gpa = Gpa::from_bits(0x1000);
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

#[test]
fn an_exit_that_nobody_can_handle_ends_the_vcpu_with_its_numbers() {
    let poisoned = VcpuExit::MemoryFault {
        flags: 0,
        gpa: Gpa::from_bits(0x8010_0000),
        size: 4096,
        errno: Errno(133),
    };
    let entry = VcpuExit::FailEntry {
        hardware_entry_failure_reason: 1,
        cpu: 3,
    };
    for (exit, message, errno) in [
        (
            poisoned,
            "KVM_EXIT_MEMORY_FAULT at 0x80100000, 0x1000 bytes (EHWPOISON)",
            Some(Errno(133)),
        ),
        (entry, "KVM_EXIT_FAIL_ENTRY, hardware reason 0x1 on CPU 3", None),
        (
            VcpuExit::InternalError { suberror: 2 },
            "KVM_EXIT_INTERNAL_ERROR, suberror 2",
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
        assert_eq!(vcpu.entries, [VcpuEntry::Run, VcpuEntry::Run]);
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
fn an_error_whose_consumer_cannot_be_read_is_not_injected() {
    let mut vcpu = FakeVcpu::with_exits([SEA]);
    vcpu.unreadable.push((RegId::PSTATE, EINVAL));
    let (reason, _) = run_once(&mut vcpu);
    assert!(
        matches!(&reason, ParkReason::Failed(error) if error.code() == "ERR_KVM_IOCTL"),
        "{reason:?}"
    );
    assert_eq!(vcpu.writes, []);
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
    vcpu.bad_write = Some((1, crate::backend::fake::Write::Fails));
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
