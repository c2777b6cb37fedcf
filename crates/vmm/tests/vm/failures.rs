//! vCPUs that cannot go on: the machine fails, says why, and takes nobody with it.

use seawall_arm64::Gpa;
use seawall_kvm::{Errno, KvmError, SystemEventKind};
use seawall_vmm::{EventKind, ExitReason, Step, UnhandledExit, VmError, VmExit, VmState};

use crate::harness::{INJECT, Machine, code, guest};

const EIO: Errno = Errno(5);

/// A machine whose vCPU 1 does `step`, and how it ended.
fn fails_with(step: Step) -> (Machine, VmError) {
    let mut machine = Machine::started(INJECT, vec![guest([]), guest([step]), guest([])]);
    let exit = machine.wait().expect("ends");
    let error = exit.error.clone().expect("a reason");
    assert_eq!((exit.reason, exit.vcpu), (ExitReason::Failed, Some(1)));
    assert_eq!(machine.vm.state(), VmState::Failed);
    let changed = |from, to| EventKind::StateChanged { from, to };
    assert_eq!(
        machine.kinds(),
        [
            changed(VmState::Created, VmState::Running),
            EventKind::VcpuFailed {
                vcpu: 1,
                error: error.clone()
            },
            changed(VmState::Running, VmState::Failed),
            EventKind::Exit(exit),
        ]
    );
    (machine, error)
}

#[test]
fn a_run_that_fails_fails_the_machine() {
    let (machine, error) = fails_with(Step::Fail { errno: EIO });
    assert_eq!(
        error,
        VmError::Kvm(KvmError::Syscall {
            syscall: "KVM_RUN",
            errno: EIO
        })
    );
    assert_eq!(error.code(), "ERR_KVM_IOCTL");
    assert_eq!((error.syscall(), error.errno()), (Some("KVM_RUN"), Some(EIO)));
    assert_eq!(error.to_string(), "KVM_RUN failed with EIO");
    for vcpu in 0..3 {
        machine
            .get(vcpu, "pc")
            .expect("a failed machine can be looked at");
    }
    assert_eq!(code(&machine.resume()), "ERR_INVALID_STATE", "and not be resumed");
}

#[test]
fn a_host_that_is_out_of_memory_is_told_apart() {
    let (_, error) = fails_with(Step::Fail { errno: Errno(12) });
    assert_eq!(error.code(), "ERR_OUT_OF_RESOURCES");
}

#[test]
fn an_exit_newer_than_us_fails_the_machine_with_its_number() {
    let (_, error) = fails_with(Step::Exit { reason: 4711 });
    assert_eq!(
        error,
        VmError::UnhandledExit {
            vcpu: 1,
            exit: UnhandledExit::Unknown {
                reason: 4711,
                payload: Some([0; 4])
            }
        }
    );
    assert_eq!(error.code(), "ERR_KVM_IOCTL");
    assert!(error.to_string().contains("exit reason 4711"), "{error}");
}

#[test]
fn a_system_event_newer_than_us_fails_the_machine_with_its_number() {
    let (_, error) = fails_with(Step::SystemEvent(SystemEventKind::Other(5)));
    assert_eq!(
        error,
        VmError::UnhandledExit {
            vcpu: 1,
            exit: UnhandledExit::SystemEvent { kind: 5 }
        }
    );
}

#[test]
fn another_machine_of_the_process_is_unharmed() {
    let mut other = Machine::started(
        INJECT,
        vec![guest([
            Step::Print("before\n".to_owned()),
            Step::MmioRead {
                gpa: Gpa::from_bits(0x4000_2005),
                len: 1,
            },
        ])],
    );
    other.until("output", |machine| machine.console == b"before\n");
    let (failed, _) = fails_with(Step::Fail { errno: EIO });
    failed.close().expect("closes");
    assert_eq!(other.vm.state(), VmState::Running);
    other.pause().expect("running");
    other.resume().expect("paused");
    assert_eq!(
        other.stop(),
        Ok(VmExit {
            reason: ExitReason::Requested,
            vcpu: None,
            error: None
        })
    );
    let failed_events = |kind: &EventKind| matches!(kind, EventKind::VcpuFailed { .. });
    assert!(!other.kinds().iter().any(failed_events));
}

#[test]
fn two_vcpus_that_fail_are_both_reported_and_end_the_machine_once() {
    let fail = || guest([Step::Fail { errno: EIO }]);
    let mut machine = Machine::started(INJECT, vec![fail(), fail()]);
    machine.wait().expect("ends");
    machine.reaches(VmState::Failed);
    let kinds = machine.kinds();
    let exits = kinds.iter().filter(|kind| matches!(kind, EventKind::Exit(_)));
    assert_eq!(exits.count(), 1);
    let failures = kinds
        .iter()
        .filter(|kind| matches!(kind, EventKind::VcpuFailed { .. }));
    // The second was perhaps kicked out before it failed.
    assert!((1..=2).contains(&failures.count()));
}
