//! The locks of what several threads share, and under `cfg(loom)` those of its models, which try every order of steps.
//!
//! Only what has a model takes them from here.

#[cfg(loom)]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(loom))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};

use atomic::{AtomicBool, Ordering};

/// Something that is so or not. What all threads say and see of all flags is in one total order (`SeqCst`).
#[derive(Debug)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) fn new(value: bool) -> Self {
        Self(AtomicBool::new(value))
    }

    pub(crate) fn set(&self, value: bool) {
        self.0.store(value, Ordering::SeqCst);
        // A model takes a store or a load for one that is acquired or released, and only a fence for one of the order.
        #[cfg(loom)]
        atomic::fence(Ordering::SeqCst);
    }

    pub(crate) fn get(&self) -> bool {
        #[cfg(loom)]
        atomic::fence(Ordering::SeqCst);
        self.0.load(Ordering::SeqCst)
    }
}
