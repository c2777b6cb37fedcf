//! Every operation in every state: what it answers, and where it leads.

use std::time::Duration;

use seawall_kvm::{Errno, SystemEventKind};
use seawall_vmm::sea::Fidelity;
use seawall_vmm::{EventKind, ExitReason, Step, VmError, VmExit, VmState};

use crate::harness::{DATA_ABORT, INJECT, Machine, PAUSE, abort, asked, code, guest};

const RAM_BASE: u64 = 0x8000_0000;
/// How long an answer that must not come is waited for.
const MOMENT: Duration = Duration::from_millis(20);

/// A machine in this state. In `Paused` a memory error waits; in `Stopped` the guest has switched itself off.
fn machine(state: VmState) -> Machine {
    let (policy, steps) = match state {
        VmState::Created | VmState::Running | VmState::Closed => (INJECT, guest([])),
        VmState::Paused => (PAUSE, guest([Step::Sea(abort(DATA_ABORT))])),
        VmState::Stopped => (INJECT, vec![Step::SystemEvent(SystemEventKind::Shutdown)]),
        VmState::Failed => (INJECT, vec![Step::Fail { errno: Errno(5) }]),
    };
    let mut machine = Machine::new(policy, vec![steps]);
    match state {
        VmState::Created => {}
        VmState::Closed => drop(machine.close().expect("closes")),
        VmState::Running | VmState::Paused | VmState::Stopped | VmState::Failed => {
            machine.start().expect("created");
            machine.reaches(state);
        }
    }
    machine
}

#[derive(Debug, Clone, Copy)]
enum Operation {
    Start,
    Pause,
    Resume,
    Stop,
    Wait,
    Close,
    GetRegister,
    SetRegister,
    InjectDataAbort,
    ReadMemory,
    WriteMemory,
    ConsoleInput,
}

/// The answer, as a word of the table below.
fn answer(machine: &Machine, operation: Operation) -> String {
    let short = |code: &str| code.replace("ERR_", "");
    match operation {
        Operation::Start => short(code(&machine.start())),
        Operation::Pause => short(code(&machine.pause())),
        Operation::Resume => short(code(&machine.resume())),
        Operation::Stop => short(code(&machine.stop())),
        Operation::Wait => asked(|reply| machine.vm.wait(reply))
            .recv_timeout(MOMENT)
            .map_or("-".to_owned(), |exit| short(code(&exit))),
        Operation::Close => short(code(&machine.close())),
        Operation::GetRegister => short(code(&machine.get(0, "x1"))),
        Operation::SetRegister => short(code(&machine.set(0, "x1", 1))),
        Operation::InjectDataAbort => short(code(&machine.inject(0, Fidelity::Restored))),
        Operation::ReadMemory => short(code(&machine.vm.read_memory(RAM_BASE, 1))),
        Operation::WriteMemory => short(code(&machine.vm.write_memory(RAM_BASE, &[1]))),
        Operation::ConsoleInput => short(code(&machine.vm.console_input(b"x"))),
    }
}

#[test]
fn every_operation_has_one_answer_in_every_state() {
    use Operation::{
        Close, ConsoleInput, GetRegister, InjectDataAbort, Pause, ReadMemory, Resume, SetRegister, Start,
        Stop, Wait, WriteMemory,
    };
    const STATES: [VmState; 6] = [
        VmState::Created,
        VmState::Running,
        VmState::Paused,
        VmState::Stopped,
        VmState::Failed,
        VmState::Closed,
    ];
    // created, running, paused, stopped, failed, closed; "-" waits.
    let table = [
        (
            Start,
            "ok INVALID_STATE INVALID_STATE INVALID_STATE INVALID_STATE VM_CLOSED",
        ),
        (
            Pause,
            "INVALID_STATE ok INVALID_STATE INVALID_STATE INVALID_STATE VM_CLOSED",
        ),
        (
            Resume,
            "INVALID_STATE INVALID_STATE ok INVALID_STATE INVALID_STATE VM_CLOSED",
        ),
        (Stop, "ok ok ok ok ok VM_CLOSED"),
        (Wait, "- - - ok ok VM_CLOSED"),
        (Close, "ok ok ok ok ok ok"),
        (GetRegister, "ok VCPU_RUNNING ok ok ok VM_CLOSED"),
        (SetRegister, "ok VCPU_RUNNING ok ok ok VM_CLOSED"),
        (
            InjectDataAbort,
            "ok VCPU_RUNNING ok INVALID_INJECTION ok VM_CLOSED",
        ),
        (ReadMemory, "ok ok ok ok ok VM_CLOSED"),
        (WriteMemory, "ok ok ok ok ok VM_CLOSED"),
        (ConsoleInput, "ok ok ok ok ok VM_CLOSED"),
    ];
    for (operation, row) in table {
        let answers = STATES.map(|state| answer(&machine(state), operation));
        assert_eq!(answers.join(" "), row, "{operation:?}");
    }
}

#[test]
fn a_refusal_names_the_operation_and_the_state() {
    let paused = machine(VmState::Paused);
    assert_eq!(
        paused.start().expect_err("refused").to_string(),
        "Expected a VM that is created for start() but received one that is paused"
    );
    let running = machine(VmState::Running);
    assert_eq!(
        running.get(0, "pc").expect_err("refused").to_string(),
        "Expected a vCPU that does not run for getRegister() but received one of a VM that is running"
    );
    assert_eq!(
        machine(VmState::Closed)
            .inject(0, Fidelity::Restored)
            .expect_err("refused")
            .to_string(),
        "Expected an open VM for injectDataAbort() but received a closed one"
    );
    assert_eq!(
        machine(VmState::Stopped)
            .inject(0, Fidelity::Restored)
            .expect_err("refused")
            .to_string(),
        "Expected a vCPU whose last exit was a memory access for injectDataAbort() but received one after a PSCI call"
    );
}

#[test]
fn a_vcpu_or_register_that_does_not_exist_is_an_invalid_option() {
    let machine = machine(VmState::Created);
    assert_eq!(
        machine.get(1, "pc"),
        Err(VmError::NoSuchVcpu { index: 1, vcpus: 1 })
    );
    assert_eq!(code(&machine.set(u32::MAX, "pc", 0)), "ERR_INVALID_OPTION");
    assert_eq!(code(&machine.inject(1, Fidelity::Kvm)), "ERR_INVALID_OPTION");
    for name in ["x31", "ESR_EL1", "", "w0"] {
        assert_eq!(code(&machine.get(0, name)), "ERR_INVALID_OPTION", "{name:?}");
        assert_eq!(code(&machine.set(0, name, 0)), "ERR_INVALID_OPTION", "{name:?}");
    }
}

#[test]
fn a_register_that_was_written_is_read_back_after_every_transition() {
    let machine = machine(VmState::Created);
    machine.set(0, "x7", u64::MAX).expect("created");
    machine.start().expect("created");
    machine.pause().expect("running");
    assert_eq!(machine.get(0, "x7"), Ok(u64::MAX));
    machine.resume().expect("paused");
    machine.stop().expect("running");
    assert_eq!(
        machine.get(0, "x7"),
        Ok(u64::MAX),
        "a stopped machine can be looked at"
    );
}

#[test]
fn memory_outside_ram_is_refused_and_inside_is_kept() {
    let machine = machine(VmState::Running);
    machine
        .vm
        .write_memory(RAM_BASE + 0x3ff_ffff, b"..")
        .expect_err("half outside");
    machine
        .vm
        .write_memory(RAM_BASE + 0x3ff_fffe, b"ok")
        .expect("the last two bytes");
    let bytes = machine
        .vm
        .read_memory(RAM_BASE + 0x3ff_fffe, 2)
        .expect("the last two bytes");
    assert_eq!(&bytes, b"ok");
    for gpa in [
        0,
        RAM_BASE - 1,
        RAM_BASE + 0x3ff_ffff,
        RAM_BASE + (64 << 20),
        u64::MAX,
    ] {
        let error = machine.vm.read_memory(gpa, 2).expect_err("outside");
        assert_eq!(error.code(), "ERR_GUEST_MEMORY");
        assert_eq!(
            error.to_string(),
            format!(
                "Expected a range of guest RAM (0x80000000, 0x4000000 bytes) but received 0x2 bytes at {gpa:#x}"
            )
        );
    }
}

#[test]
fn a_guest_ends_its_machine_by_psci() {
    for (kind, reason) in [
        (SystemEventKind::Shutdown, ExitReason::Shutdown),
        (SystemEventKind::Reset, ExitReason::Reset),
        (SystemEventKind::Crash, ExitReason::Crash),
    ] {
        let machine = Machine::started(INJECT, vec![guest([]), vec![Step::SystemEvent(kind)]]);
        let exit = VmExit {
            reason,
            vcpu: Some(1),
            error: None,
        };
        assert_eq!(machine.wait(), Ok(exit.clone()));
        assert_eq!(machine.vm.state(), VmState::Stopped);
        assert_eq!(machine.stop(), Ok(exit), "the first reason stays");
    }
}

#[test]
fn everyone_who_waits_is_told_the_same() {
    let machine = Machine::started(INJECT, vec![guest([])]);
    let waiting: Vec<_> = (0..3).map(|_| asked(|reply| machine.vm.wait(reply))).collect();
    let exit = machine.stop().expect("running");
    assert_eq!(exit.reason, ExitReason::Requested);
    assert_eq!(exit.vcpu, None);
    for answer in waiting {
        assert_eq!(
            answer.recv_timeout(crate::harness::LIMIT).expect("answered"),
            Ok(exit.clone())
        );
    }
}

#[test]
fn every_transition_is_one_event() {
    let mut machine = Machine::new(INJECT, vec![guest([])]);
    machine.start().expect("created");
    machine.pause().expect("running");
    machine.pause().expect_err("paused already");
    machine.resume().expect("paused");
    let exit = machine.stop().expect("running");
    machine.stop().expect("stopped already");
    machine.close().expect("closes");
    machine.close().expect("closed already");
    let changed = |from, to| EventKind::StateChanged { from, to };
    assert_eq!(
        machine.kinds(),
        [
            changed(VmState::Created, VmState::Running),
            changed(VmState::Running, VmState::Paused),
            changed(VmState::Paused, VmState::Running),
            changed(VmState::Running, VmState::Stopped),
            EventKind::Exit(exit),
            changed(VmState::Stopped, VmState::Closed),
        ]
    );
}

#[test]
fn a_pause_that_a_stop_overtakes_is_refused() {
    let machine = Machine::started(INJECT, vec![guest([]); 4]);
    for _ in 0..20 {
        let pause = asked(|reply| machine.vm.pause(reply));
        let stop = asked(|reply| machine.vm.stop(reply));
        let pause = pause.recv_timeout(crate::harness::LIMIT).expect("answered");
        let stop = stop.recv_timeout(crate::harness::LIMIT).expect("answered");
        assert!(["ok", "ERR_INVALID_STATE"].contains(&code(&pause)), "{pause:?}");
        assert_eq!(stop.expect("stops").reason, ExitReason::Requested);
    }
    assert_eq!(machine.vm.state(), VmState::Stopped);
}

#[test]
fn pauses_at_once_are_one_pause() {
    let mut machine = Machine::started(INJECT, vec![guest([]); 4]);
    let pauses: Vec<_> = (0..2).map(|_| asked(|reply| machine.vm.pause(reply))).collect();
    let answers: Vec<_> = pauses
        .iter()
        .map(|pause| code(&pause.recv_timeout(crate::harness::LIMIT).expect("answered")))
        .collect();
    // The second one either joined the first or came after it.
    assert!(
        answers == ["ok", "ok"] || answers == ["ok", "ERR_INVALID_STATE"],
        "{answers:?}"
    );
    let paused = EventKind::StateChanged {
        from: VmState::Running,
        to: VmState::Paused,
    };
    assert_eq!(machine.kinds().iter().filter(|kind| **kind == paused).count(), 1);
}
