//! What is left of a virtual machine when it is gone: no thread, no descriptor, no mapping, no callback.
//!
//! A binary of its own, because it counts what the whole process has.
#![cfg(target_os = "linux")]
#![expect(
    clippy::expect_used,
    reason = "a test fails by panicking, also in its helpers"
)]

#[allow(
    dead_code,
    reason = "shared with the tests of virtual machines, which use all of it"
)]
#[path = "../vm/harness.rs"]
mod harness;

use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use seawall_kvm::{Errno, SystemEventKind};
use seawall_vmm::{Boot, Image, Step, Vm, VmState};

use harness::{DATA_ABORT, INJECT, LIMIT, Machine, PAUSE, abort, ask, asked, create, guest, options};

/// One test at a time: they count what all of them make.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the process has of virtual machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Held {
    vcpu_threads: usize,
    control_threads: usize,
    memfds: usize,
    mappings: usize,
}

fn held() -> Held {
    let mut held = Held::default();
    for task in fs::read_dir("/proc/self/task").expect("Linux").flatten() {
        // A thread may end while it is looked at.
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        held.vcpu_threads += usize::from(name.starts_with("vcpu-"));
        held.control_threads += usize::from(name.trim_end() == "vm-control");
    }
    for fd in fs::read_dir("/proc/self/fd").expect("Linux").flatten() {
        let target = fs::read_link(fd.path()).unwrap_or_default();
        held.memfds += usize::from(target.to_string_lossy().contains("seawall-guest"));
    }
    let maps = fs::read_to_string("/proc/self/maps").expect("Linux");
    held.mappings = maps.lines().filter(|line| line.contains("seawall-guest")).count();
    held
}

fn nothing_is_left(of: &str) {
    let deadline = Instant::now() + LIMIT;
    while held() != Held::default() {
        assert!(Instant::now() < deadline, "left of {of}: {:?}", held());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A machine of three vCPUs in this state.
fn machine(state: VmState) -> Machine {
    let (policy, steps) = match state {
        VmState::Paused => (PAUSE, guest([Step::Sea(abort(DATA_ABORT))])),
        VmState::Stopped => (INJECT, vec![Step::SystemEvent(SystemEventKind::Shutdown)]),
        VmState::Failed => (INJECT, vec![Step::Fail { errno: Errno(5) }]),
        VmState::Created | VmState::Running | VmState::Closed => (INJECT, guest([])),
    };
    let mut machine = Machine::new(policy, vec![steps, guest([]), guest([])]);
    if state != VmState::Created {
        machine.start().expect("created");
        machine.reaches(state);
    }
    machine
}

const OPEN: [VmState; 5] = [
    VmState::Created,
    VmState::Running,
    VmState::Paused,
    VmState::Stopped,
    VmState::Failed,
];

#[test]
fn what_is_counted_exists_while_a_machine_does() {
    let _alone = alone();
    let machine = machine(VmState::Running);
    let one = Held {
        vcpu_threads: 3,
        control_threads: 1,
        memfds: 1,
        mappings: 1,
    };
    assert_eq!(held(), one);
    drop(machine);
    nothing_is_left("a running machine");
}

#[test]
fn a_handle_dropped_without_close_leaves_nothing() {
    let _alone = alone();
    for state in OPEN {
        drop(machine(state));
        nothing_is_left(state.name());
    }
}

#[test]
fn a_close_has_given_the_memory_back_when_it_answers() {
    let _alone = alone();
    for state in OPEN {
        let machine = machine(state);
        machine.close().expect("closes");
        // Threads that have ended stay listed for a moment; memory does not.
        let Held { memfds, mappings, .. } = held();
        assert_eq!((memfds, mappings), (0, 0), "left of a machine that was {state}");
        nothing_is_left(state.name());
        assert_eq!(machine.vm.state(), VmState::Closed, "the handle still answers");
    }
}

#[test]
fn a_handle_dropped_while_the_machine_is_busy_leaves_nothing() {
    let _alone = alone();
    let errors = || guest((0..500).map(|_| Step::Sea(abort(DATA_ABORT))));
    for _ in 0..20 {
        let machine = Machine::started(INJECT, vec![errors(), errors()]);
        drop(asked(|reply| machine.vm.pause(reply)));
        drop(asked(|reply| machine.vm.wait(reply)));
    }
    nothing_is_left("twenty machines");
}

#[test]
fn a_machine_that_cannot_be_made_leaves_nothing() {
    let _alone = alone();
    let mut options = options(INJECT, vec![guest([]); 4]);
    options.boot = Boot::Flat {
        image: Image::Bytes(vec![0; 4]),
        load_address: Some(0),
        entry: None,
    };
    create(options).expect_err("an image outside RAM");
    nothing_is_left("an image outside RAM");
}

#[test]
fn the_callback_is_released_with_the_machine() {
    let _alone = alone();
    let callback = Arc::new(());
    let held_by_wake = Arc::clone(&callback);
    let wake = Box::new(move || drop(Arc::clone(&held_by_wake)));
    let vm = ask(|reply| Vm::create(options(INJECT, vec![guest([])]), wake, None, reply)).expect("a machine");
    assert_eq!(Arc::strong_count(&callback), 2);
    drop(vm);
    nothing_is_left("the machine");
    let deadline = Instant::now() + LIMIT;
    while Arc::strong_count(&callback) > 1 {
        assert!(Instant::now() < deadline, "the callback is still held");
        std::thread::sleep(Duration::from_millis(1));
    }
}
