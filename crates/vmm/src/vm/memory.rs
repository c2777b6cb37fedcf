//! Guest RAM and its lost pages, as a handle has them.

use std::sync::{Arc, PoisonError};

use seawall_kvm::{GuestMemory, GuestMemoryError};

use crate::containment::signalled;
use crate::error::VmError;
use crate::memory_layout;
use crate::sea::PoisonedPage;
use crate::vm::Vm;
use crate::vm::message::{Message, Reply, answered};

impl Vm {
    /// Copies `len` bytes of guest RAM at `gpa`, also while the guest runs. A lost page is never read.
    ///
    /// # Errors
    /// [`VmError::OutsideGuestMemory`], [`VmError::PoisonedPage`], [`VmError::InaccessibleGuestMemory`],
    /// [`VmError::Closed`].
    pub fn read_memory(&self, gpa: u64, len: usize) -> Result<Vec<u8>, VmError> {
        let memory = self.good_memory("memory.read()", gpa, len)?;
        // Checked before anything is allocated: a length of nonsense is an error, not the end of the process.
        let offset = memory_layout::ram_offset(&memory, gpa, len)?;
        let mut buffer = Vec::new();
        buffer
            .try_reserve_exact(len)
            .map_err(|_| VmError::NoMemory { len })?;
        buffer.resize(len, 0);
        self.copied(gpa, memory.read(offset, &mut buffer))?;
        Ok(buffer)
    }

    /// Copies `data` into guest RAM at `gpa`, also while the guest runs. A lost page is never written.
    ///
    /// # Errors
    /// [`VmError::OutsideGuestMemory`], [`VmError::PoisonedPage`], [`VmError::InaccessibleGuestMemory`],
    /// [`VmError::Closed`].
    pub fn write_memory(&self, gpa: u64, data: &[u8]) -> Result<(), VmError> {
        let memory = self.good_memory("memory.write()", gpa, data.len())?;
        let offset = memory_layout::ram_offset(&memory, gpa, data.len())?;
        self.copied(gpa, memory.write(offset, data))
    }

    /// What came of a copy of guest RAM. A memory error that it met is one of the guest's.
    fn copied(&self, gpa: u64, copied: Result<(), GuestMemoryError>) -> Result<(), VmError> {
        if let Err(GuestMemoryError::Inaccessible {
            error: Some(signal), ..
        }) = copied
        {
            let (gpa, report) = signalled(signal);
            self.send(Message::Lost { gpa, report });
        }
        copied.map_err(|error| memory_layout::inaccessible(error, gpa))
    }

    /// Guest RAM, if no byte of the range is on a lost page. One that is lost meanwhile ends the copy at its fix-up.
    fn good_memory(
        &self,
        operation: &'static str,
        gpa: u64,
        len: usize,
    ) -> Result<Arc<GuestMemory>, VmError> {
        let resources = self
            .shared
            .resources
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let held = resources.as_ref().ok_or(VmError::Closed { operation })?;
        match held.context.ledger().lost(gpa, len as u64) {
            Some(page) => Err(VmError::poisoned(page)),
            None => Ok(Arc::clone(&held.memory)),
        }
    }

    /// Every lost page, by address; none once the VM is closed.
    #[must_use]
    pub fn poisoned_pages(&self) -> Vec<PoisonedPage> {
        let resources = self
            .shared
            .resources
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        resources
            .as_ref()
            .map_or_else(Vec::new, |held| held.context.ledger().pages().copied().collect())
    }

    /// Says that pages of guest RAM are lost, before anybody needs them: whatever pages the range touches. They are out of
    /// reach when the answer comes, and each is told by an event of its own. A page that is known to be lost is left as it
    /// is.
    pub fn report_poison(&self, gpa: u64, len: u64, reply: Reply<()>) {
        let reply = answered("reportPoison()", reply);
        self.send(Message::ReportPoison { gpa, len, reply });
    }

    /// Puts fresh zeroed memory in the place of the lost page around an address. What the guest had there is lost for good.
    pub fn replace_page(&self, gpa: u64, reply: Reply<()>) {
        let reply = answered("replacePage()", reply);
        self.send(Message::ReplacePage { gpa, reply });
    }
}
