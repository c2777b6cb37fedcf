//! What takes a simulated vCPU out of the guest.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use seawall_kvm::KvmError;

use crate::backend::Kicker;

/// Whether the vCPU was kicked. It stays so until the vCPU has seen it, as `immediate_exit` does.
#[derive(Debug, Default)]
pub(super) struct SimulatedKick {
    kicked: Mutex<bool>,
    changed: Condvar,
}

impl SimulatedKick {
    fn kicked(&self) -> MutexGuard<'_, bool> {
        self.kicked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as a vCPU in the guest does: until kicked.
    pub(super) fn wait(&self) {
        let mut kicked = self.kicked();
        while !*kicked {
            kicked = self.changed.wait(kicked).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits as a vCPU in the guest does, until kicked or until then. Returns how much time is left.
    pub(super) fn wait_until(&self, end: Instant) -> Duration {
        let mut kicked = self.kicked();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if *kicked || left.is_zero() {
                return left;
            }
            let woken = self.changed.wait_timeout(kicked, left);
            kicked = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Says whether the vCPU was kicked, and forgets it.
    pub(super) fn take(&self) -> bool {
        std::mem::take(&mut *self.kicked())
    }
}

impl Kicker for SimulatedKick {
    fn kick(&self) -> Result<(), KvmError> {
        *self.kicked() = true;
        self.changed.notify_all();
        Ok(())
    }
}
