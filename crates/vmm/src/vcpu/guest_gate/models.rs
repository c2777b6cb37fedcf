//! Every order in which vCPUs go into the guest and others change its memory.

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::*;

/// A guest that only a kick ends. One that comes before the guest is entered ends it at once, as `immediate_exit` does.
#[derive(Debug, Default)]
struct Guest {
    kicked: Mutex<bool>,
    changed: Condvar,
}

impl Guest {
    fn kicked(&self) -> MutexGuard<'_, bool> {
        self.kicked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut kicked = self.kicked();
        while !*kicked {
            kicked = self.changed.wait(kicked).unwrap_or_else(PoisonError::into_inner);
        }
        *kicked = false;
    }
}

impl Kicker for Guest {
    fn kick(&self) -> Result<(), seawall_kvm::KvmError> {
        *self.kicked() = true;
        self.changed.notify_all();
        Ok(())
    }
}

/// A machine with so many vCPUs.
struct Machine {
    gate: GuestGate,
    guests: Vec<Arc<Guest>>,
    /// How many vCPUs are in the guest.
    inside: AtomicUsize,
    quit: Flag,
}

impl Machine {
    fn new(vcpus: usize) -> Arc<Self> {
        let guests: Vec<Arc<Guest>> = (0..vcpus).map(|_| Arc::default()).collect();
        let kickers = guests.iter().map(|guest| Arc::clone(guest) as Arc<dyn Kicker>);
        Arc::new(Self {
            gate: GuestGate::new(kickers),
            guests,
            inside: AtomicUsize::new(0),
            quit: Flag::new(false),
        })
    }

    /// Starts the vCPUs, which stay in the guest but for kicks.
    fn start(self: &Arc<Self>) -> Vec<thread::JoinHandle<()>> {
        let vcpus = (0..).zip(self.guests.clone()).map(|(index, guest)| {
            let machine = Arc::clone(self);
            thread::spawn(move || {
                while !machine.quit.get() {
                    let inside = machine.gate.way(index).enter();
                    machine.inside.fetch_add(1, Ordering::SeqCst);
                    guest.run();
                    machine.inside.fetch_sub(1, Ordering::SeqCst);
                    drop(inside);
                }
            })
        });
        vcpus.collect()
    }

    fn change(&self) {
        // Where a wake-up is lost the model waits for ever, and says so: its waits have no end of their own.
        let seen = self.gate.change(|| self.inside.load(Ordering::SeqCst));
        assert_eq!(seen, Ok(0), "a vCPU is in the guest");
    }

    /// Ends the vCPUs: each gets in again first, if it was kept out.
    fn end(&self, vcpus: Vec<thread::JoinHandle<()>>) {
        self.quit.set(true);
        for guest in &self.guests {
            assert_eq!(guest.kick(), Ok(()));
        }
        for vcpu in vcpus {
            assert!(vcpu.join().is_ok(), "no panic");
        }
    }
}

#[test]
fn a_change_finds_the_vcpu_outside_and_lets_it_in_again() {
    loom::model(|| {
        let machine = Machine::new(1);
        let vcpus = machine.start();
        machine.change();
        machine.end(vcpus);
    });
}

#[test]
fn a_change_finds_each_of_two_vcpus_outside_that_leave_the_guest_by_themselves() {
    loom::model(|| {
        let machine = Machine::new(2);
        let vcpus = [0, 1].map(|index| {
            let machine = Arc::clone(&machine);
            thread::spawn(move || {
                let inside = machine.gate.way(index).enter();
                machine.inside.fetch_add(1, Ordering::SeqCst);
                machine.inside.fetch_sub(1, Ordering::SeqCst);
                drop(inside);
            })
        });
        machine.change();
        for vcpu in vcpus {
            vcpu.join().expect("no panic");
        }
    });
}

#[test]
fn of_two_changes_at_once_each_finds_the_vcpu_outside() {
    loom::model(|| {
        let machine = Machine::new(1);
        let vcpus = machine.start();
        let other = Arc::clone(&machine);
        let other = thread::spawn(move || other.change());
        machine.change();
        other.join().expect("no panic");
        machine.end(vcpus);
    });
}
