//! Every order in which machines have something to tell and their one reader takes what there is.

use std::sync::Arc;

use loom::thread;

use super::*;
use crate::event::Outbox;
use crate::event::outbox::models::{Calls, EVENT};

/// Machines with one reader, which is woken by the calls.
struct Machines {
    ready: Arc<ReadyList>,
    calls: Arc<Calls>,
    outboxes: Vec<Arc<Outbox>>,
}

impl Machines {
    fn new(count: u32) -> Self {
        let (ready, calls) = (Arc::<ReadyList>::default(), Arc::<Calls>::default());
        let outboxes = (0..count).map(|machine| {
            let (ready, calls) = (Arc::clone(&ready), Arc::clone(&calls));
            let wake = move || {
                if ready.add(machine) {
                    calls.call();
                }
            };
            Arc::new(Outbox::new(Box::new(wake)))
        });
        let outboxes = outboxes.collect();
        Self {
            ready,
            calls,
            outboxes,
        }
    }

    /// Starts a vCPU of a machine, which has so many events.
    fn start(&self, machine: usize, events: u64) -> thread::JoinHandle<()> {
        let outbox = Arc::clone(&self.outboxes[machine]);
        thread::spawn(move || {
            for _ in 0..events {
                outbox.push(EVENT);
            }
        })
    }

    /// Reads so many events, of which machine each. Where a wake-up is lost it waits for ever, and the model says so.
    fn read(&self, count: usize) -> Vec<u32> {
        let mut read = Vec::new();
        while read.len() < count {
            self.calls.wait();
            for machine in self.ready.take() {
                let events = self.outboxes[machine as usize].take_events();
                read.extend(events.iter().map(|_| machine));
            }
        }
        read.sort_unstable();
        read
    }
}

#[test]
fn a_reader_that_sleeps_until_it_is_woken_reads_of_every_machine() {
    loom::model(|| {
        let machines = Machines::new(2);
        let vcpus = [machines.start(0, 1), machines.start(1, 1)];
        assert_eq!(machines.read(2), [0, 1]);
        for vcpu in vcpus {
            vcpu.join().expect("no panic");
        }
    });
}

#[test]
fn a_machine_that_was_read_is_put_on_the_list_again() {
    loom::model(|| {
        let machines = Machines::new(1);
        let vcpu = machines.start(0, 2);
        assert_eq!(machines.read(2), [0, 0]);
        vcpu.join().expect("no panic");
    });
}
