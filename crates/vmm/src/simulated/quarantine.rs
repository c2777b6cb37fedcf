//! Lost pages that a simulated vCPU cannot reach any more.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use seawall_arm64::Gpa;
use seawall_kvm::{KvmError, MemoryErrorSignal};

use crate::backend::PageQuarantine;
use crate::event::QuarantineMethod;
use crate::memory_layout::{PAGE_SIZE, RAM_BASE};

/// The pages that were taken, shared by the vCPUs of one virtual machine. It plays the userfaultfd.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimulatedQuarantine {
    offsets: Arc<Mutex<BTreeSet<u64>>>,
}

impl SimulatedQuarantine {
    /// What the kernel does instead of an abort when a vCPU touches a page that was taken.
    pub(super) fn signal(&self, gpa: Option<Gpa>) -> Option<MemoryErrorSignal> {
        let offset = gpa?.page(PAGE_SIZE).bits().checked_sub(RAM_BASE)?;
        let taken = self
            .offsets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&offset);
        taken.then_some(MemoryErrorSignal { offset, lsb: 12 })
    }
}

impl PageQuarantine for SimulatedQuarantine {
    fn take(&self, offset: u64, _: u64) -> Result<QuarantineMethod, KvmError> {
        self.offsets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(offset);
        Ok(QuarantineMethod::Userfaultfd)
    }

    fn method(&self) -> QuarantineMethod {
        QuarantineMethod::Userfaultfd
    }
}
