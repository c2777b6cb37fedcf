//! Guest RAM that notes who touches what, and whose pages can be lost.

use std::cell::{Cell, RefCell};

use crate::error::VmError;
use crate::ghes::RegionMemory;
use crate::memory_layout::PAGE_SIZE;

/// What the monitor did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Access {
    Read(u64, usize),
    Write(u64, Vec<u8>),
}

/// What happens after each access of the monitor: another vCPU of the guest.
type OtherVcpu = Box<dyn FnMut(&Ram)>;

/// A part of guest RAM.
pub(super) struct Ram {
    base: u64,
    bytes: RefCell<Vec<u8>>,
    accesses: RefCell<Vec<Access>>,
    lost: RefCell<Vec<u64>>,
    other_vcpu: Cell<Option<OtherVcpu>>,
}

impl Ram {
    pub(super) fn new(base: u64, len: u64) -> Self {
        Self {
            base,
            bytes: RefCell::new(vec![0; usize::try_from(len).expect("small")]),
            accesses: RefCell::default(),
            lost: RefCell::default(),
            other_vcpu: Cell::default(),
        }
    }

    fn offset(&self, gpa: u64, len: usize) -> usize {
        let offset = usize::try_from(gpa.checked_sub(self.base).expect("not below RAM")).expect("small");
        assert!(offset + len <= self.bytes.borrow().len(), "{gpa:#x} {len}");
        offset
    }

    /// The guest reads.
    pub(super) fn peek(&self, gpa: u64, len: usize) -> Vec<u8> {
        let offset = self.offset(gpa, len);
        self.bytes.borrow()[offset..offset + len].to_vec()
    }

    pub(super) fn peek_u64(&self, gpa: u64) -> u64 {
        u64::from_le_bytes(self.peek(gpa, 8).try_into().expect("8 bytes"))
    }

    pub(super) fn peek_u32(&self, gpa: u64) -> u32 {
        u32::from_le_bytes(self.peek(gpa, 4).try_into().expect("4 bytes"))
    }

    /// The guest writes.
    pub(super) fn poke(&self, gpa: u64, bytes: &[u8]) {
        let offset = self.offset(gpa, bytes.len());
        self.bytes.borrow_mut()[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn lose_page(&self, gpa: u64) {
        self.lost.borrow_mut().push(gpa / PAGE_SIZE);
    }

    pub(super) fn replace_pages(&self) {
        self.lost.borrow_mut().clear();
    }

    /// Lets another vCPU run after each access of the monitor from now on.
    pub(super) fn other_vcpu(&self, runs: impl FnMut(&Self) + 'static) {
        self.other_vcpu.set(Some(Box::new(runs)));
    }

    pub(super) fn accesses(&self) -> Vec<Access> {
        self.accesses.borrow().clone()
    }

    pub(super) fn forget_accesses(&self) {
        self.accesses.borrow_mut().clear();
    }

    /// The first byte of a range that lies on a lost page.
    fn lost_at(&self, gpa: u64, len: usize) -> Option<u64> {
        let lost = self.lost.borrow();
        let mut pages = gpa / PAGE_SIZE..=(gpa + len as u64 - 1) / PAGE_SIZE;
        let page = pages.find(|page| lost.contains(page))?;
        Some(gpa.max(page * PAGE_SIZE))
    }

    fn run_other_vcpu(&self) {
        if let Some(mut runs) = self.other_vcpu.take() {
            runs(self);
            self.other_vcpu.set(Some(runs));
        }
    }
}

impl RegionMemory for Ram {
    fn read_at(&self, gpa: u64, buffer: &mut [u8]) -> Result<(), VmError> {
        if let Some(gpa) = self.lost_at(gpa, buffer.len()) {
            return Err(VmError::InaccessibleGuestMemory { gpa });
        }
        buffer.copy_from_slice(&self.peek(gpa, buffer.len()));
        self.accesses.borrow_mut().push(Access::Read(gpa, buffer.len()));
        self.run_other_vcpu();
        Ok(())
    }

    fn write_at(&self, gpa: u64, bytes: &[u8]) -> Result<(), VmError> {
        if let Some(gpa) = self.lost_at(gpa, bytes.len()) {
            return Err(VmError::InaccessibleGuestMemory { gpa });
        }
        self.poke(gpa, bytes);
        self.accesses
            .borrow_mut()
            .push(Access::Write(gpa, bytes.to_vec()));
        self.run_other_vcpu();
        Ok(())
    }
}
