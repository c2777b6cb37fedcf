//! Lost pages that a simulated vCPU cannot reach any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use seawall_arm64::Gpa;
use seawall_kvm::{GuestMemory, MemoryErrorSignal, SignalCode};

use crate::backend::{PageQuarantine, QuarantineError};
use crate::event::QuarantineMethod;
use crate::memory_layout::RAM_BASE;

/// What was done about the pages of one virtual machine, shared by its vCPUs. It plays the userfaultfd.
#[derive(Debug, Clone)]
pub(crate) struct SimulatedQuarantine {
    memory: Arc<GuestMemory>,
    pages: Arc<Mutex<BTreeMap<u64, Page>>>,
}

#[derive(Debug, Clone, Copy)]
struct Page {
    len: u64,
    replaced: bool,
}

impl SimulatedQuarantine {
    pub(crate) fn new(memory: &Arc<GuestMemory>) -> Self {
        Self {
            memory: Arc::clone(memory),
            pages: Arc::default(),
        }
    }

    fn pages(&self) -> MutexGuard<'_, BTreeMap<u64, Page>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn around(&self, offset: u64) -> Option<Page> {
        let pages = self.pages();
        let (start, page) = pages.range(..=offset).next_back()?;
        (offset - start < page.len).then_some(*page)
    }

    /// What the kernel does instead of an abort when a vCPU touches a page that was taken.
    pub(super) fn signal(&self, gpa: Option<Gpa>) -> Option<MemoryErrorSignal> {
        let offset = gpa?.page(4096).bits().checked_sub(RAM_BASE)?;
        let code = SignalCode::ActionRequired;
        (!self.around(offset)?.replaced).then_some(MemoryErrorSignal {
            code,
            offset,
            lsb: 12,
        })
    }

    /// Whether an access finds fresh memory in the place of what was lost.
    pub(super) fn is_replaced(&self, gpa: Option<Gpa>) -> bool {
        let offset = gpa.and_then(|gpa| gpa.bits().checked_sub(RAM_BASE));
        offset
            .and_then(|offset| self.around(offset))
            .is_some_and(|page| page.replaced)
    }
}

impl PageQuarantine for SimulatedQuarantine {
    fn take(&self, offset: u64, len: u64) -> Result<QuarantineMethod, QuarantineError> {
        let replaced = false;
        self.pages().insert(offset, Page { len, replaced });
        Ok(QuarantineMethod::Userfaultfd)
    }

    fn settle(&self) {}

    fn method(&self, offset: u64) -> Option<QuarantineMethod> {
        let taken = self.around(offset).is_some_and(|page| !page.replaced);
        taken.then_some(QuarantineMethod::Userfaultfd)
    }

    fn replace(&self, offset: u64, len: u64) -> Result<(), QuarantineError> {
        let zeroes = vec![0; usize::try_from(len).unwrap_or(0)];
        // Simulated memory is good memory, so this cannot fail for a page of it.
        let written = self.memory.write(offset, &zeroes);
        debug_assert_eq!(written, Ok(()));
        let replaced = true;
        self.pages().insert(offset, Page { len, replaced });
        Ok(())
    }

    /// The host has lost nothing.
    fn retire(&self, _: Instant) -> Vec<(u64, bool)> {
        Vec::new()
    }
}
