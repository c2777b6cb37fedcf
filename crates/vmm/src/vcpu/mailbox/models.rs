//! Every order in which a vCPU waits, and others answer, park, run and end it.

use std::sync::Arc;
use std::time::Duration;

use loom::sync::atomic::AtomicUsize;
use loom::thread;

use super::*;
use crate::sea::Decision;

/// Longer than any model takes: the model's clock stands still, and its waits have no end of their own.
const NEVER: Duration = Duration::from_secs(1 << 20);

const STOP: Answer = Answer::Decision(Decision::Stop);
const PAUSE: Answer = Answer::Decision(Decision::Pause);

fn mailbox() -> Arc<Mailbox> {
    Arc::new(Mailbox::default())
}

/// A command that counts its answers.
fn command(answered: &Arc<AtomicUsize>) -> VcpuCommand {
    let answered = Arc::clone(answered);
    let count = move |_| {
        answered.fetch_add(1, Ordering::SeqCst);
    };
    VcpuCommand::SetRegister(RegId::PC, 0, Box::new(count))
}

fn serve(command: VcpuCommand) {
    if let VcpuCommand::SetRegister(_, _, reply) = command {
        reply(Ok(()));
    }
}

/// Waits for the answer as a vCPU does.
fn wait_until(mailbox: &Mailbox, deadline: Instant) -> Option<Answer> {
    while let AskWakeup::Command(command) = mailbox.wait_answer(deadline) {
        serve(command);
    }
    mailbox.end_ask().0
}

#[test]
fn an_answer_wakes_the_vcpu_that_waits_for_it() {
    loom::model(|| {
        let mailbox = mailbox();
        mailbox.begin_ask(1);
        let owner = Arc::clone(&mailbox);
        let owner = thread::spawn(move || owner.answer(1, STOP));
        assert_eq!(wait_until(&mailbox, Instant::now() + NEVER), Some(STOP));
        assert!(owner.join().expect("no panic"));
    });
}

#[test]
fn an_answer_is_accepted_exactly_where_the_vcpu_takes_it_also_at_the_deadline() {
    loom::model(|| {
        let mailbox = mailbox();
        mailbox.begin_ask(1);
        let owner = Arc::clone(&mailbox);
        let owner = thread::spawn(move || owner.answer(1, STOP));
        // It is over already.
        let taken = wait_until(&mailbox, Instant::now());
        assert_eq!(owner.join().expect("no panic"), taken.is_some());
        assert!(!mailbox.answer(1, STOP), "nobody asks any more");
    });
}

#[test]
fn of_two_answers_one_is_accepted_and_that_one_is_taken() {
    loom::model(|| {
        let mailbox = mailbox();
        mailbox.begin_ask(1);
        let owners = [STOP, PAUSE].map(|answer| {
            let owner = Arc::clone(&mailbox);
            thread::spawn(move || owner.answer(1, answer.clone()).then_some(answer))
        });
        let taken = wait_until(&mailbox, Instant::now() + NEVER);
        let accepted = owners.map(|owner| owner.join().expect("no panic"));
        let accepted: Vec<_> = accepted.into_iter().flatten().collect();
        assert_eq!(accepted.len(), 1);
        assert_eq!(taken.as_ref(), accepted.first());
    });
}

#[test]
fn an_answer_to_the_question_before_is_never_taken_for_one_to_this() {
    loom::model(|| {
        let mailbox = mailbox();
        mailbox.begin_ask(1);
        let owner = Arc::clone(&mailbox);
        let owner = thread::spawn(move || owner.answer(1, STOP));
        let first = wait_until(&mailbox, Instant::now());
        mailbox.begin_ask(2);
        let second = wait_until(&mailbox, Instant::now());
        assert_eq!(second, None);
        assert_eq!(owner.join().expect("no panic"), first.is_some());
    });
}

#[test]
fn the_end_of_the_vm_ends_a_wait_for_an_answer() {
    for quit in [false, true] {
        loom::model(move || {
            let mailbox = mailbox();
            mailbox.begin_ask(1);
            let control = Arc::clone(&mailbox);
            let control = thread::spawn(move || {
                if quit {
                    control.request_quit();
                } else {
                    control.request_end();
                }
            });
            assert_eq!(wait_until(&mailbox, Instant::now() + NEVER), None);
            control.join().expect("no panic");
        });
    }
}

#[test]
fn whoever_wants_a_vcpu_out_of_the_guest_hears_of_it_once_or_it_parks() {
    loom::model(|| {
        let mailbox = mailbox();
        let control = Arc::clone(&mailbox);
        let control = thread::spawn(move || control.request_park());
        let told = mailbox.begin_ask(1);
        let (_, must_park) = {
            drop(mailbox.wait_answer(Instant::now()));
            mailbox.end_ask()
        };
        let whereabouts = control.join().expect("no panic");
        // Out of the guest is said by one of the two, and not by both.
        assert!(!(told && whereabouts == Whereabouts::Asking));
        let said = told || whereabouts == Whereabouts::Asking;
        assert!(must_park || !said, "who was told that it is outside relies on it");
        assert!(
            mailbox.park_requested(),
            "it parks after its next exit at the latest"
        );
    });
}

#[test]
fn a_command_is_answered_once_whatever_ends_the_wait() {
    loom::model(|| {
        let mailbox = mailbox();
        let answered = Arc::new(AtomicUsize::new(0));
        mailbox.begin_ask(1);
        let owner = Arc::clone(&mailbox);
        let sent = command(&answered);
        let owner = thread::spawn(move || {
            owner.send(sent);
            owner.answer(1, STOP);
        });
        wait_until(&mailbox, Instant::now() + NEVER);
        owner.join().expect("no panic");
        mailbox.request_quit();
        while let Wakeup::Command(command) = mailbox.wait() {
            serve(command);
        }
        assert_eq!(answered.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_parked_vcpu_runs_once_for_a_request_answers_what_came_before_its_end_and_ends() {
    loom::model(|| {
        let mailbox = mailbox();
        let answered = Arc::new(AtomicUsize::new(0));
        let vcpu = Arc::clone(&mailbox);
        let vcpu = thread::spawn(move || {
            let mut runs = 0;
            loop {
                match vcpu.wait() {
                    Wakeup::Command(command) => serve(command),
                    Wakeup::Run(_) => {
                        runs += 1;
                        vcpu.end_run();
                    }
                    Wakeup::Quit => return runs,
                }
            }
        });
        mailbox.request_run(Arc::default());
        mailbox.send(command(&answered));
        mailbox.request_quit();
        let runs = vcpu.join().expect("no panic");
        assert!(runs <= 1, "a quit beats a run");
        assert_eq!(answered.load(Ordering::SeqCst), 1);
        assert_eq!(
            mailbox.is_running(),
            runs == 0,
            "a run that was not begun is not over"
        );
    });
}

#[test]
fn a_run_that_is_parked_at_once_is_seen_to_its_end() {
    loom::model(|| {
        let mailbox = mailbox();
        let vcpu = Arc::clone(&mailbox);
        mailbox.request_run(Arc::default());
        let vcpu = thread::spawn(move || {
            assert!(matches!(vcpu.wait(), Wakeup::Run(_)));
            // The kick makes each look: without a request it would stay in the guest.
            while !vcpu.park_requested() {
                thread::yield_now();
            }
            vcpu.end_run();
        });
        assert!(mailbox.is_running());
        mailbox.request_park();
        vcpu.join().expect("no panic");
        assert!(!mailbox.is_running());
    });
}
