//! One error source: the protocol by which records are handed over, one at a time.
//!
//! ```text
//!                     monitor                                guest
//!  ack = 1, status = 0: the source is free
//!          ack = 0
//!          the record behind its first 8 bytes
//!          its first 8 bytes, with block_status
//!          abort or interrupt                        reads the address register
//!                                                    copies the record
//!                                                    block_status = 0
//!                                                    ack = 1
//! ```
//!
//! Everything in the region is the guest's to overwrite. What is read of it are these two words, and all that they can do is to
//! make a source look busy or free.
//!
//! Source: ACPI specification 6.5, 18.3.2.8; drivers/acpi/apei/ghes.c of Linux 7.3.

use std::ops::Range;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use super::memory::RegionMemory;
use super::page_set::{PageSet, pages};
use super::record::record;
use super::region::Source;
use crate::error::VmError;
use crate::memory_layout::PAGE_SIZE;

/// How long a guest may leave unread what it was told before it counts as one that reads nothing.
pub(crate) const SILENCE: Duration = Duration::from_secs(5);
/// What the guest writes when it has read a record.
const ACKNOWLEDGED: u64 = 1;

/// Whether a guest can be told by a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceState {
    /// It can.
    Usable,
    /// The guest has not read what it was told for 5 seconds: it does not know ACPI, has no agent, or hangs. It may read it later.
    Silent,
    /// A page that the source needs is lost itself, or the region was never written.
    Disabled,
}

/// Whether a record can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The guest has read the last one.
    Free,
    Busy,
}

/// A source of one guest.
#[derive(Debug)]
pub(super) struct ErrorSource {
    source: Source,
    region: u64,
    state: SourceState,
    /// The pages of the record that the guest has not read yet, by their numbers.
    unread: Vec<u64>,
    busy_since: Option<Instant>,
    /// The pages that the guest has read of.
    read: PageSet,
    /// The pages of records that were given up before the guest had read them.
    given_up: PageSet,
}

impl ErrorSource {
    pub(super) fn new(source: Source, region: u64) -> Self {
        Self {
            source,
            region,
            state: SourceState::Disabled,
            unread: Vec::new(),
            busy_since: None,
            read: PageSet::default(),
            given_up: PageSet::default(),
        }
    }

    pub(super) const fn source(&self) -> Source {
        self.source
    }

    pub(super) const fn state(&self) -> SourceState {
        self.state
    }

    /// Makes it free, as a guest finds it at boot.
    pub(super) fn place(&mut self, memory: &dyn RegionMemory) -> Result<(), VmError> {
        *self = Self::new(self.source, self.region);
        self.write_free(memory)
    }

    /// Writes what fresh memory has taken the place of, and says which pages there was an unread record of that is gone. A record
    /// that lies somewhere else stays, and the guest may be about to read it.
    pub(super) fn mend(
        &mut self,
        memory: &dyn RegionMemory,
        fresh: &Range<u64>,
    ) -> Result<Vec<u64>, VmError> {
        let is_fresh = |start: u64, len: u64| {
            let pages = pages(start, len);
            pages.start < fresh.end && fresh.start < pages.end
        };
        let [address_register, read_ack, block] = self.source.parts(self.region);
        let gone = is_fresh(block.0, block.1);
        if !gone && !is_fresh(address_register.0, address_register.1) && !is_fresh(read_ack.0, read_ack.1) {
            return Ok(Vec::new());
        }
        self.state = SourceState::Disabled;
        self.busy_since = None;
        if gone || self.unread.is_empty() {
            self.write_free(memory)?;
            return Ok(self.take_unread());
        }
        memory.write_at(address_register.0, &block.0.to_le_bytes())?;
        memory.write_at(read_ack.0, &[0; 8])?;
        self.state = SourceState::Usable;
        Ok(Vec::new())
    }

    /// Gives up the record that the guest has not read, and says of which pages it is.
    pub(super) fn take_unread(&mut self) -> Vec<u64> {
        for page in &self.unread {
            self.given_up.insert(*page..page + 1);
        }
        std::mem::take(&mut self.unread)
    }

    fn write_free(&mut self, memory: &dyn RegionMemory) -> Result<(), VmError> {
        let block = self.source.status_block(self.region);
        memory.write_at(self.source.address_register(self.region), &block.to_le_bytes())?;
        memory.write_at(block, &[0; 8])?;
        memory.write_at(self.source.read_ack(self.region), &ACKNOWLEDGED.to_le_bytes())?;
        self.state = SourceState::Usable;
        Ok(())
    }

    /// Gives it up if it lies on one of these pages, and says whether it did.
    pub(super) fn lose(&mut self, pages: &Range<u64>) -> bool {
        let on =
            |start: u64, len: u64| start / PAGE_SIZE < pages.end && pages.start * PAGE_SIZE < start + len;
        let parts = self.source.parts(self.region);
        let lost =
            self.state != SourceState::Disabled && parts.into_iter().any(|(start, len)| on(start, len));
        if lost {
            self.state = SourceState::Disabled;
        }
        lost
    }

    /// Looks whether the guest has read the last record. Returns how many pages it has read of since.
    pub(super) fn look(&mut self, memory: &dyn RegionMemory, now: Instant) -> Result<(Turn, usize), VmError> {
        let free = self
            .is_free(memory)
            .inspect_err(|_| self.state = SourceState::Disabled)?;
        if free {
            self.state = SourceState::Usable;
            self.busy_since = None;
            let read = self.unread.len();
            for page in self.unread.drain(..) {
                self.read.insert(page..page + 1);
            }
            return Ok((Turn::Free, read));
        }
        let since = *self.busy_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= SILENCE {
            self.state = SourceState::Silent;
        }
        Ok((Turn::Busy, 0))
    }

    fn is_free(&self, memory: &dyn RegionMemory) -> Result<bool, VmError> {
        let mut ack = [0; 8];
        memory.read_at(self.source.read_ack(self.region), &mut ack)?;
        // With the field behind it: eight bytes are one access.
        let mut status = [0; 8];
        memory.read_at(self.source.status_block(self.region), &mut status)?;
        // What is written from here on must not overtake these reads: the guest may still copy the last record.
        fence(Ordering::Acquire);
        Ok(u64::from_le_bytes(ack) == ACKNOWLEDGED && status[..4] == [0; 4])
    }

    /// Writes a record of these pages. The source is free, and there are as many pages as it can hold at most.
    pub(super) fn write(
        &mut self,
        memory: &dyn RegionMemory,
        pages: Vec<u64>,
        number: u64,
        now: Instant,
    ) -> Result<(), VmError> {
        let addresses: Vec<u64> = pages.iter().map(|page| page * PAGE_SIZE).collect();
        self.hand_over(memory, &record(&addresses, number))
            .inspect_err(|_| self.state = SourceState::Disabled)?;
        self.unread = pages;
        self.busy_since = Some(now);
        Ok(())
    }

    fn hand_over(&self, memory: &dyn RegionMemory, record: &[u8]) -> Result<(), VmError> {
        let block = self.source.status_block(self.region);
        let (status, rest) = record.split_at(8);
        memory.write_at(self.source.read_ack(self.region), &[0; 8])?;
        memory.write_at(block + 8, rest)?;
        // Another vCPU may look at any time: it must not see the status before the rest. The copies are assembly, of which the
        // compiler moves nothing.
        fence(Ordering::Release);
        memory.write_at(block, status)
    }

    /// Whether the guest has read of a page; absent where it was not told by this source.
    pub(super) fn told_of(&self, page: u64) -> Option<Option<bool>> {
        if self.unread.contains(&page) {
            return Some((self.state != SourceState::Usable).then_some(false));
        }
        match (self.read.contains(page), self.given_up.contains(page)) {
            (true, _) => Some(Some(true)),
            (false, true) => Some(Some(false)),
            (false, false) => None,
        }
    }

    /// The parts of a range that the guest has read nothing of by this source.
    pub(super) fn not_read(&self, pages: Range<u64>) -> Vec<Range<u64>> {
        self.read.missing(pages)
    }

    /// Leaves out of the guest's time what has passed.
    pub(super) fn resumed(&mut self) {
        self.busy_since = None;
    }

    /// Whether a record of it is not read yet.
    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Forgets pages that are good again.
    pub(super) fn forget(&mut self, pages: &Range<u64>) {
        self.unread.retain(|page| !pages.contains(page));
        self.read.remove(pages);
        self.given_up.remove(pages);
    }
}
