//! The gate between the vCPUs and the guest: whoever changes what the guest's memory is made of closes it, and finds every
//! vCPU outside.
//!
//! ```text
//! vCPU thread:  enter ── KVM_RUN ── drop the guard
//! changer:      close ── kick those inside, wait until none is ── change ── open
//! ```
//!
//! A vCPU that handles an exit, waits for a decision or is parked is outside, and does not notice. Entering and leaving
//! cost a store and a load; no lock is taken while the gate is open.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::backend::Kicker;
use crate::sync::{Condvar, Flag, Mutex, MutexGuard};

/// How long a vCPU may take to leave the guest. The kernel does it at once; a thread that does not is lost.
const LIMIT: Duration = Duration::from_secs(10);
/// Before one that has not left the guest is kicked again.
const KICK_AGAIN: Duration = Duration::from_millis(10);

/// A vCPU did not leave the guest in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stuck {
    pub(crate) vcpu: u32,
}

/// The gate of one virtual machine.
#[derive(Debug)]
pub(crate) struct GuestGate {
    vcpus: Vec<AtThisGate>,
    closed: Flag,
    /// Notified when a vCPU leaves while the gate is closed, and when the gate opens.
    changed: Condvar,
    lock: Mutex<()>,
    /// One change at a time.
    changing: Mutex<()>,
}

#[derive(Debug)]
struct AtThisGate {
    inside: Flag,
    kicker: Arc<dyn Kicker>,
}

impl GuestGate {
    /// Makes an open gate for the vCPUs that these kick, by index.
    pub(crate) fn new(kickers: impl IntoIterator<Item = Arc<dyn Kicker>>) -> Self {
        let vcpus = kickers.into_iter().map(|kicker| AtThisGate {
            inside: Flag::new(false),
            kicker,
        });
        Self {
            vcpus: vcpus.collect(),
            closed: Flag::new(false),
            changed: Condvar::new(),
            lock: Mutex::default(),
            changing: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, guard: MutexGuard<'a, ()>, limit: Duration) -> MutexGuard<'a, ()> {
        let woken = self.changed.wait_timeout(guard, limit);
        woken.unwrap_or_else(PoisonError::into_inner).0
    }

    /// The way of a vCPU through the gate.
    pub(super) fn way(&self, vcpu: u32) -> Way<'_> {
        Way {
            gate: self,
            vcpu: self.vcpus.get(vcpu as usize),
        }
    }

    /// Makes a change while no vCPU is in the guest.
    pub(crate) fn change<T>(&self, change: impl FnOnce() -> T) -> Result<T, Stuck> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.closed.set(true);
        let _closed = Closed { gate: self };
        self.all_out().map(|()| change())
    }

    fn all_out(&self) -> Result<(), Stuck> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let guard = self.lock();
            let mut inside = (0..).zip(&self.vcpus).filter(|(_, vcpu)| vcpu.inside.get());
            let Some((vcpu, _)) = inside.next() else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                return Err(Stuck { vcpu });
            }
            for vcpu in &self.vcpus {
                if vcpu.inside.get() {
                    // A signal that cannot be sent is tried again; `immediate_exit` is set in any case.
                    drop(vcpu.kicker.kick());
                }
            }
            drop(self.wait(guard, KICK_AGAIN));
        }
    }
}

/// The way of one vCPU through a gate.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    gate: &'a GuestGate,
    vcpu: Option<&'a AtThisGate>,
}

impl<'a> Way<'a> {
    /// Says that the vCPU goes into the guest, until the answer is dropped; waits while the gate is closed.
    #[inline]
    pub(super) fn enter(self) -> Inside<'a> {
        if let Some(vcpu) = self.vcpu {
            // Either this is seen by whoever closes the gate, or the closed gate is seen here: both are in one total order.
            vcpu.inside.set(true);
            if self.gate.closed.get() {
                self.wait_to_enter(vcpu);
            }
        }
        Inside(self)
    }

    #[cold]
    fn wait_to_enter(self, vcpu: &AtThisGate) {
        let gate = self.gate;
        while gate.closed.get() {
            let mut guard = gate.lock();
            vcpu.inside.set(false);
            gate.changed.notify_all();
            while gate.closed.get() {
                guard = gate.wait(guard, LIMIT);
            }
            drop(guard);
            vcpu.inside.set(true);
        }
    }
}

/// A vCPU is in the guest, until dropped.
pub(super) struct Inside<'a>(Way<'a>);

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        let Way { gate, vcpu } = self.0;
        let Some(vcpu) = vcpu else { return };
        vcpu.inside.set(false);
        if gate.closed.get() {
            drop(gate.lock());
            gate.changed.notify_all();
        }
    }
}

/// The gate is closed, until dropped: also where a change panics.
struct Closed<'a> {
    gate: &'a GuestGate,
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        let guard = self.gate.lock();
        self.gate.closed.set(false);
        drop(guard);
        self.gate.changed.notify_all();
    }
}

#[cfg(all(test, loom))]
mod models;

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;

    /// Makes a vCPU leave: the test's vCPUs look at it instead of being in a guest.
    #[derive(Debug, Default)]
    struct Flag(AtomicBool);

    impl Kicker for Flag {
        fn kick(&self) -> Result<(), seawall_kvm::KvmError> {
            self.0.store(true, Ordering::SeqCst);
            Ok(())
        }
    }

    #[test]
    fn a_change_finds_nobody_in_the_guest() {
        let flags: Vec<Arc<Flag>> = (0..3).map(|_| Arc::default()).collect();
        let kickers = flags.iter().map(|flag| Arc::clone(flag) as Arc<dyn Kicker>);
        let gate = Arc::new(GuestGate::new(kickers));
        let (inside, quit) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let vcpus: Vec<_> = (0..)
            .zip(&flags)
            .map(|(index, flag)| {
                let (gate, flag) = (Arc::clone(&gate), Arc::clone(flag));
                let (inside, quit) = (Arc::clone(&inside), Arc::clone(&quit));
                std::thread::spawn(move || {
                    while !quit.load(Ordering::SeqCst) {
                        let guard = gate.way(index).enter();
                        inside.fetch_add(1, Ordering::SeqCst);
                        while !flag.0.swap(false, Ordering::SeqCst) && !quit.load(Ordering::SeqCst) {
                            std::hint::spin_loop();
                        }
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(guard);
                    }
                })
            })
            .collect();
        for _ in 0..200 {
            while inside.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            let seen = gate
                .change(|| inside.load(Ordering::SeqCst))
                .expect("nobody is stuck");
            assert_eq!(seen, 0, "a vCPU is in the guest");
        }
        quit.store(true, Ordering::SeqCst);
        for vcpu in vcpus {
            vcpu.join().expect("no panic");
        }
    }

    #[test]
    fn a_vcpu_that_is_outside_is_not_kicked_and_one_that_was_kept_out_goes_in_again() {
        let flag = Arc::new(Flag::default());
        let gate = GuestGate::new([Arc::clone(&flag) as Arc<dyn Kicker>]);
        drop(gate.way(0).enter());
        assert_eq!(gate.change(|| 7), Ok(7));
        assert!(!flag.0.load(Ordering::SeqCst));
        drop(gate.way(0).enter());
    }

    #[test]
    fn a_change_that_panics_leaves_the_gate_open() {
        let gate = GuestGate::new([Arc::new(Flag::default()) as Arc<dyn Kicker>]);
        let change = std::panic::AssertUnwindSafe(|| gate.change(|| panic!("a defect")));
        assert!(std::panic::catch_unwind(change).is_err());
        drop(gate.way(0).enter());
        assert_eq!(gate.change(|| 7), Ok(7));
    }
}
