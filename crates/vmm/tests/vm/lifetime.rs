//! Closing: in every state, twice, at once, and racing with everything else.

use std::sync::Arc;
use std::thread;

use seawall_kvm::{Errno, SystemEventKind};
use seawall_vmm::{ClosedVm, ExitReason, Step, VmState};

use crate::harness::{DATA_ABORT, INJECT, LIMIT, Machine, PAUSE, abort, asked, code, create, guest, options};

#[test]
fn a_machine_closes_from_every_state_and_twice() {
    let shutdown = vec![Step::SystemEvent(SystemEventKind::Shutdown)];
    let fail = vec![Step::Fail { errno: Errno(5) }];
    for (state, policy, steps) in [
        (VmState::Created, INJECT, guest([])),
        (VmState::Running, INJECT, guest([])),
        (VmState::Paused, PAUSE, guest([Step::Sea(abort(DATA_ABORT))])),
        (VmState::Stopped, INJECT, shutdown),
        (VmState::Failed, INJECT, fail),
    ] {
        let mut machine = Machine::new(policy, vec![steps.clone(), steps]);
        if state != VmState::Created {
            machine.start().expect("created");
            machine.reaches(state);
        }
        let waiting = asked(|reply| machine.vm.wait(reply));
        let closed = machine.close().expect("closes");
        assert_eq!(machine.vm.state(), VmState::Closed, "from {state}");
        assert_eq!(machine.close(), Ok(closed), "the second time says the same");
        let exit = waiting
            .recv_timeout(LIMIT)
            .expect("answered")
            .expect("with an exit");
        let reason = match state {
            VmState::Stopped => ExitReason::Shutdown,
            VmState::Failed => ExitReason::Failed,
            _ => ExitReason::Requested,
        };
        assert_eq!(exit.reason, reason, "from {state}");
    }
}

#[test]
fn closing_at_once_from_many_threads_answers_all_the_same() {
    let mut machine = Machine::started(INJECT, vec![guest([Step::Sea(abort(DATA_ABORT))]), guest([])]);
    machine.failures(1);
    let closers: Vec<_> = (0..16).map(|_| asked(|reply| machine.vm.close(reply))).collect();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let answer = asked(|reply| machine.vm.close(reply)).recv_timeout(LIMIT);
                assert_eq!(
                    answer.expect("answered"),
                    Ok(ClosedVm {
                        unretired_host_pages: 1
                    })
                );
            });
        }
    });
    for closer in closers {
        let closed = closer.recv_timeout(LIMIT).expect("answered").expect("closes");
        assert_eq!(closed.unretired_host_pages, 1);
    }
}

#[test]
fn a_close_that_is_waited_for_is_bounded() {
    let machine = Machine::started(INJECT, vec![guest([]); 4]);
    assert!(machine.vm.close_blocking(LIMIT));
    assert!(machine.vm.close_blocking(LIMIT), "and again");
}

#[test]
fn an_operation_that_races_with_close_is_answered() {
    for _ in 0..300 {
        let vm = Arc::new(create(options(INJECT, vec![guest([])])).expect("a machine"));
        let asking = Arc::clone(&vm);
        let asker = thread::spawn(move || {
            let ask_all = |_| {
                (
                    asked(|reply| asking.wait(reply)),
                    asked(|reply| asking.get_register(0, "pc", reply)),
                    asked(|reply| asking.close(reply)),
                )
            };
            (0..100).map(ask_all).collect::<Vec<_>>()
        });
        let closed = asked(|reply| vm.close(reply));
        assert!(closed.recv_timeout(LIMIT).expect("answered").is_ok());
        for (wait, register, close) in asker.join().expect("no panic") {
            let wait = wait.recv_timeout(LIMIT).expect("answered, not forgotten");
            assert!(["ok", "ERR_VM_CLOSED"].contains(&code(&wait)), "{wait:?}");
            let register = register.recv_timeout(LIMIT).expect("answered, not forgotten");
            assert!(["ok", "ERR_VM_CLOSED"].contains(&code(&register)), "{register:?}");
            let close = close.recv_timeout(LIMIT).expect("answered, not forgotten");
            assert_eq!(close, Ok(ClosedVm::default()));
        }
    }
}

#[test]
fn a_handle_dropped_in_the_answer_to_create_closes_the_machine() {
    let (sender, closed) = std::sync::mpsc::channel();
    let wake = move || sender.send(()).unwrap_or(());
    seawall_vmm::Vm::create(
        options(INJECT, vec![guest([])]),
        Box::new(wake),
        None,
        Box::new(drop),
    );
    closed.recv_timeout(LIMIT).expect("its state changed");
    // The last event is read by nobody; that the sender goes shows that the machine did.
    while closed.recv_timeout(LIMIT).is_ok() {}
    assert_eq!(
        closed.recv_timeout(LIMIT),
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
    );
}
