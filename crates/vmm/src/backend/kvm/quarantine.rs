//! Lost pages of a KVM guest: out of reach by userfaultfd poison, or by a hole in the memory slots where that is refused.
//!
//! | | userfaultfd | memslot hole |
//! | --- | --- | --- |
//! | a vCPU's load or store | `BUS_MCEERR_AR` | MMIO, or an access without a syndrome |
//! | its fetch, its table walk | `BUS_MCEERR_AR` | an abort that KVM injects by itself |
//! | a system call, a copy of ours | `EFAULT`, `SIGBUS` | reaches the page: the ledger keeps our own away |
//! | the vCPUs | stay in the guest | are out while the slots change |
//! | huge pages | would be lost as a whole | lose 4 KiB |

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use seawall_kvm::{GuestMemory, KvmError, Quarantine, VmFd};

use crate::backend::{PageQuarantine, QuarantineError};
use crate::event::QuarantineMethod;
use crate::memory_layout::RAM_BASE;
use crate::vcpu::{GuestGate, Stuck};

/// How many pages are taken at most. Each may be a hole, which splits a memory slot: of those a virtual machine has 32767
/// (`KVM_MEM_SLOTS_NUM`, linux/kvm_host.h).
const LIMIT: usize = 4096;

/// The quarantine of one virtual machine.
#[derive(Debug)]
pub(super) struct KvmQuarantine {
    vm: Arc<VmFd>,
    memory: Arc<GuestMemory>,
    gate: Arc<GuestGate>,
    /// Opened when the first page is lost.
    userfaultfd: OnceLock<Result<Quarantine, KvmError>>,
    /// The pages that were taken, by offset: two vCPUs may lose one at the same time, and taking it again would open it.
    taken: Mutex<BTreeMap<u64, Taken>>,
}

#[derive(Debug, Clone, Copy)]
struct Taken {
    len: u64,
    method: QuarantineMethod,
}

impl KvmQuarantine {
    pub(super) fn new(vm: Arc<VmFd>, memory: Arc<GuestMemory>, gate: Arc<GuestGate>) -> Self {
        Self {
            vm,
            memory,
            gate,
            userfaultfd: OnceLock::new(),
            taken: Mutex::default(),
        }
    }

    /// Held while a page is taken. Whoever waits for it is out of the guest, so that the gate never waits for them.
    fn taken(&self) -> MutexGuard<'_, BTreeMap<u64, Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poison(&self, offset: u64, len: u64) -> Result<QuarantineMethod, KvmError> {
        let opened = self.userfaultfd.get_or_init(Quarantine::open);
        opened
            .as_ref()
            .map_err(Clone::clone)?
            .take(&self.memory, offset, len)?;
        Ok(QuarantineMethod::Userfaultfd)
    }

    fn make_hole(&self, offset: u64, len: u64) -> Result<QuarantineMethod, QuarantineError> {
        self.gate.change(|| self.vm.make_hole(RAM_BASE + offset, len))??;
        Ok(QuarantineMethod::MemslotHole)
    }
}

impl PageQuarantine for KvmQuarantine {
    fn take(&self, offset: u64, len: u64) -> Result<QuarantineMethod, QuarantineError> {
        let mut taken = self.taken();
        if let Some(page) = around(&taken, offset).filter(|page| page.len >= len) {
            return Ok(page.method);
        }
        if taken.len() >= LIMIT {
            return Err(QuarantineError::Full { limit: LIMIT });
        }
        // The memory's file keeps the page in any case; held, it also stays where it is. A process that has no mapping left
        // for it has none for the poison either; a hole costs none.
        drop(self.memory.hold(offset, len));
        let poisoned = match self.memory.huge_page() {
            // It would take the whole huge page away from the guest.
            Some(_) => Err(QuarantineError::HugePage),
            None => self.poison(offset, len).map_err(QuarantineError::from),
        };
        let method = poisoned.or_else(|_| self.make_hole(offset, len))?;
        taken.insert(offset, Taken { len, method });
        Ok(method)
    }

    fn settle(&self) {
        drop(self.taken());
    }

    fn method(&self, offset: u64) -> Option<QuarantineMethod> {
        around(&self.taken(), offset).map(|page| page.method)
    }

    fn replace(&self, offset: u64, len: u64) -> Result<(), QuarantineError> {
        if self.memory.huge_page().is_some() {
            return Err(QuarantineError::HugePage);
        }
        let mut taken = self.taken();
        // A page that the host's kernel has taken is none of ours, and replaced like the others.
        let method = taken.get(&offset).map(|page| page.method);
        self.memory.replace(offset, len)?;
        if method == Some(QuarantineMethod::MemslotHole) {
            self.vm.fill_hole(RAM_BASE + offset, len)?;
        }
        taken.remove(&offset);
        Ok(())
    }

    fn retire(&self, deadline: Instant) -> Vec<(u64, bool)> {
        self.memory.offline_held(|| Instant::now() >= deadline)
    }
}

fn around(taken: &BTreeMap<u64, Taken>, offset: u64) -> Option<Taken> {
    let (start, page) = taken.range(..=offset).next_back()?;
    (offset - start < page.len).then_some(*page)
}

impl From<Stuck> for QuarantineError {
    fn from(Stuck { vcpu }: Stuck) -> Self {
        Self::Stuck { vcpu }
    }
}
