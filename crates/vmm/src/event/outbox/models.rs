//! Every order in which vCPUs push and a reader takes.

use std::sync::Arc;

use loom::sync::Condvar;
use loom::thread;

use super::*;
use crate::vm::VmState;

pub(in crate::event) const EVENT: EventKind = EventKind::StateChanged {
    from: VmState::Created,
    to: VmState::Running,
};

/// What wakes a reader, as Node does: for each call it comes once.
#[derive(Default)]
pub(in crate::event) struct Calls {
    open: Mutex<usize>,
    called: Condvar,
}

impl Calls {
    fn open(&self) -> MutexGuard<'_, usize> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::event) fn call(&self) {
        *self.open() += 1;
        self.called.notify_all();
    }

    pub(in crate::event) fn wait(&self) {
        let mut open = self.open();
        while *open == 0 {
            open = self.called.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
        *open -= 1;
    }
}

/// An outbox whose reader is woken by the calls.
fn outbox() -> (Arc<Outbox>, Arc<Calls>) {
    let calls = Arc::new(Calls::default());
    let wake = Arc::clone(&calls);
    (Arc::new(Outbox::new(Box::new(move || wake.call()))), calls)
}

/// Which numbers were delivered or said to be lost, in the order of telling.
fn told(events: &[Event]) -> Vec<u64> {
    let numbers = events.iter().flat_map(|event| match event.kind {
        EventKind::EventsLost { from_seq, to_seq } => from_seq..=to_seq,
        _ => event.seq..=event.seq,
    });
    numbers.collect()
}

/// Reads until so many numbers were told. Where a wake-up is lost it waits for ever, and the model says so.
fn read(outbox: &Outbox, woken: &Calls, count: usize, max: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        woken.wait();
        loop {
            let events = outbox.take_events_up_to(max);
            numbers.extend(told(&events));
            if events.len() < max {
                break;
            }
        }
    }
    numbers
}

#[test]
fn a_reader_that_sleeps_until_it_is_woken_reads_everything_in_order() {
    loom::model(|| {
        let (outbox, woken) = outbox();
        let vcpu = Arc::clone(&outbox);
        let first = thread::spawn(move || [vcpu.push(EVENT), vcpu.push(EVENT)]);
        assert_eq!(read(&outbox, &woken, 2, usize::MAX), [1, 2]);
        assert_eq!(first.join().expect("no panic"), [1, 2]);
    });
}

#[test]
fn what_is_lost_is_told_once_and_nothing_else_is_lost() {
    loom::model(|| {
        let (outbox, woken) = outbox();
        // One more than there is room for, from two sides.
        let vcpu = Arc::clone(&outbox);
        let second = thread::spawn(move || {
            vcpu.push(EVENT);
            vcpu.push(EVENT);
        });
        let vcpu = Arc::clone(&outbox);
        let third = thread::spawn(move || {
            vcpu.push(EVENT);
        });
        assert_eq!(read(&outbox, &woken, 3, 8), [1, 2, 3]);
        second.join().expect("no panic");
        third.join().expect("no panic");
        let totals = outbox.totals();
        assert_eq!(totals.delivered + totals.lost, 3);
    });
}

#[test]
fn a_number_that_is_reserved_is_told_once_whatever_comes_meanwhile() {
    loom::model(|| {
        let (outbox, woken) = outbox();
        let vcpu = Arc::clone(&outbox);
        let asks = thread::spawn(move || {
            let seq = vcpu.reserve();
            vcpu.push(EVENT);
            vcpu.push_reserved(seq, EVENT);
        });
        let vcpu = Arc::clone(&outbox);
        let other = thread::spawn(move || {
            vcpu.push(EVENT);
        });
        let mut numbers = read(&outbox, &woken, 3, 8);
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3]);
        asks.join().expect("no panic");
        other.join().expect("no panic");
    });
}

#[test]
fn a_reader_that_found_no_console_output_is_woken_by_the_next_also_beside_events() {
    loom::model(|| {
        let (outbox, woken) = outbox();
        assert_eq!(outbox.take_console(8), b"");
        let vcpu = Arc::clone(&outbox);
        let prints = thread::spawn(move || {
            vcpu.push_console(b"a");
            vcpu.push(EVENT);
            vcpu.push_console(b"b");
        });
        let (mut events, mut bytes) = (0, Vec::new());
        while events < 1 || bytes.len() < 2 {
            woken.wait();
            events += outbox.take_events().len();
            // As the stream does: until it finds nothing, from when on it is woken.
            loop {
                let taken = outbox.take_console(8);
                if taken.is_empty() {
                    break;
                }
                bytes.extend(taken);
            }
        }
        assert_eq!(bytes, b"ab");
        prints.join().expect("no panic");
    });
}
