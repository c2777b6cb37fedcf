//! The order of events and what a slow reader loses.

use std::time::{Duration, Instant};

use seawall_arm64::Gpa;
use seawall_vmm::{AbortStep, Event, EventKind, Step, VmState};

use crate::harness::{DATA_ABORT, INJECT, LIMIT, Machine, PAGE, abort, guest};

/// Checks that the numbers go up, with no gap but those an event names, and returns how many are lost.
fn lost(events: &[Event]) -> u64 {
    let mut next = 1;
    let mut lost = 0;
    for event in events {
        match event.kind {
            EventKind::EventsLost { from_seq, to_seq } => {
                assert_eq!(from_seq, next, "the first missing number");
                assert_eq!(event.seq, to_seq);
                assert!(to_seq >= from_seq);
                lost += to_seq - from_seq + 1;
            }
            _ => assert_eq!(event.seq, next, "{:?}", event.kind),
        }
        next = event.seq + 1;
    }
    lost
}

#[test]
fn numbers_and_clocks_go_up() {
    let steps = (0..100).flat_map(|page| {
        let abort = AbortStep {
            gpa: Some(Gpa::from_bits(PAGE + page * 4096)),
            ..abort(DATA_ABORT)
        };
        [
            Step::Sea(abort),
            Step::MmioRead {
                gpa: Gpa::from_bits(0),
                len: 4,
            },
        ]
    });
    let mut machine = Machine::started(INJECT, vec![guest(steps), guest([])]);
    machine.failures(100);
    machine.stop().expect("running");
    machine.close().expect("stopped");
    machine.reaches(VmState::Closed);
    assert_eq!(lost(&machine.events), 0);
    for pair in machine.events.windows(2) {
        assert!(pair[0].seq < pair[1].seq);
        assert!(pair[0].monotonic <= pair[1].monotonic);
    }
    // created → running, 100 of each, stopped, exit, closed.
    assert_eq!(machine.events.len(), 204);
}

#[test]
fn a_storm_of_errors_with_a_slow_reader_is_accounted_for() {
    const VCPUS: u64 = 4;
    const ERRORS: u64 = 2500;
    let storm = |vcpu: u64| {
        let errors = (0..ERRORS).map(move |index| {
            Step::Sea(AbortStep {
                gpa: Some(Gpa::from_bits(PAGE + (vcpu << 24) + index * 4096)),
                ..abort(DATA_ABORT)
            })
        });
        guest(errors.chain([Step::Print("x".to_owned())]))
    };
    let mut machine = Machine::started(INJECT, (0..VCPUS).map(storm).collect());
    // The reader starts when there is no room left, and is slower than the guests.
    let deadline = Instant::now() + LIMIT;
    while machine.vm.stats().lost == 0 {
        assert!(Instant::now() < deadline, "the ring never fills");
        std::thread::sleep(Duration::from_micros(100));
    }
    machine.until("end of the storm", |machine| {
        std::thread::sleep(Duration::from_millis(3));
        machine.console == b"xxxx"
    });
    machine.stop().expect("running");
    machine.close().expect("stopped");
    machine.kinds();

    let produced = VCPUS * ERRORS + 4; // running, stopped, exit, closed
    let totals = machine.vm.stats();
    assert_eq!(totals.delivered + totals.lost, produced);
    assert!(totals.lost > 0);
    assert_eq!(lost(&machine.events), totals.lost);
    assert_eq!(machine.events.last().map(|event| event.seq), Some(produced));
    let delivered = machine
        .events
        .iter()
        .filter(|event| !matches!(event.kind, EventKind::EventsLost { .. }));
    assert_eq!(delivered.count() as u64, totals.delivered);
    // What the reader missed is still in the sums.
    let failures = machine.seen_failures();
    let most = failures
        .iter()
        .map(|failure| (failure.ledger.failures, failure.ledger.distinct_pages))
        .max();
    assert_eq!(most, Some((VCPUS * ERRORS, VCPUS * ERRORS)));
    assert!(failures.iter().all(|failure| {
        failure
            .injection
            .as_ref()
            .is_some_and(|done| done.error.is_none())
    }));
}

#[test]
fn events_and_output_of_a_closed_machine_can_still_be_read() {
    let mut machine = Machine::started(INJECT, vec![guest([Step::Print("bye".to_owned())])]);
    machine.until("output", |machine| {
        machine.vm.state() == VmState::Running && machine.console == b"bye"
    });
    machine.close().expect("closes");
    let kinds = machine.kinds();
    assert_eq!(
        kinds.last(),
        Some(&EventKind::StateChanged {
            from: VmState::Stopped,
            to: VmState::Closed
        })
    );
    assert!(machine.vm.take_events().is_empty(), "each event is taken once");
}
