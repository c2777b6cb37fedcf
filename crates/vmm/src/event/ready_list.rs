//! Which of many virtual machines have something to read: one list for their one reader, with one wake-up for all.

use std::sync::PoisonError;

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// The machines that have events or console output, by number. Each puts itself on it once until it is drained, so that it
/// is no longer than there are machines.
#[derive(Debug)]
pub struct ReadyList {
    machines: Mutex<Vec<u32>>,
    /// The reader was woken since it last took the list.
    woken: AtomicBool,
}

impl Default for ReadyList {
    fn default() -> Self {
        Self {
            machines: Mutex::new(Vec::new()),
            woken: AtomicBool::new(false),
        }
    }
}

impl ReadyList {
    /// Puts a machine on the list. `true`: the caller is to wake the reader, which nobody did since it last took the list.
    #[must_use]
    pub fn add(&self, machine: u32) -> bool {
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        machines.push(machine);
        drop(machines);
        !self.woken.swap(true, Ordering::SeqCst)
    }

    /// Takes the list. Whoever is put on it from the beginning of this call on has the reader woken again.
    #[must_use]
    pub fn take(&self) -> Vec<u32> {
        // A store would do; the model takes only one after the other what reads and writes at once.
        self.woken.swap(false, Ordering::SeqCst);
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut machines)
    }
}

#[cfg(all(test, loom))]
mod models;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_reader_is_woken_once_for_all_that_are_ready_until_it_takes_them() {
        let ready = ReadyList::default();
        assert_eq!([ready.add(7), ready.add(8)], [true, false]);
        assert_eq!(ready.take(), [7, 8]);
        assert_eq!(ready.take(), []);
        assert!(ready.add(7));
    }
}
