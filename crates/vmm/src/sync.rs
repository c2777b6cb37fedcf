//! The locks of what several threads share, and under `cfg(loom)` those of its models, which try every order of steps.
//!
//! Only what has a model takes them from here.

#[cfg(loom)]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(loom))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};
