//! Telling a guest which of its pages are lost: firmware-first error records, where there is no firmware (ACPI APEI, GHESv2).
//!
//! ```text
//!   lost pages ──> LostPages, each once ──> ErrorSource Gsiv ──> record in the GHES region ──> interrupt
//!   abort at EL0 ─────────────────────────> ErrorSource Sea  ──> record in the GHES region ──> the abort itself
//! ```
//!
//! The guest's kernel retires a page that it is told of, and sends the signal of a memory error to who needs it. By exception it
//! does so before the process that took the abort goes on; it looks for that record at EL0 alone. By interrupt it does so soon,
//! and that is for everything else. [`next_step`] says which way it is to be.
//!
//! The region is the guest's to read and write, and nothing that it does there harms anybody else: the monitor takes no address
//! from it, and reads two words that make a source look busy or free. A guest that does not read its records is waited for with
//! an end, [`wait`], and counts as silent after five seconds.

mod backlog;
mod by_exception;
mod by_interrupt;
mod error_source;
mod lost_pages;
mod memory;
mod page_set;
mod policy;
mod record;
mod region;
mod wait;

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use seawall_arm64::Gpa;

use crate::memory_layout::PAGE_SIZE;
use backlog::Backlog;
use error_source::{ErrorSource, Turn};
use page_set::without;

pub use by_exception::Telling;
pub use by_interrupt::Progress;
pub(crate) use error_source::SILENCE;
pub use error_source::SourceState;
pub(crate) use lost_pages::LostPages;
pub use memory::RegionMemory;
pub(crate) use page_set::{PageSet, pages};
pub use policy::{Consumption, NotificationStep, RETRIES, SourceStates, Tried, next_step};
pub use region::{REGION_SIZE, Source};
pub use wait::{ACK_LIMIT, ACK_PAUSE, Waited, wait};

/// The error sources of one guest, and what it has to be told. Every operation takes a few copies and waits for nothing.
///
/// ```
/// # use std::time::Instant;
/// # use seawall_arm64::Gpa;
/// # use seawall_kvm::GuestMemory;
/// use seawall_vmm::ghes::{Ghes, Source};
/// use seawall_vmm::memory_layout::RAM_BASE;
///
/// # fn main() -> Result<(), seawall_kvm::KvmError> {
/// let memory = GuestMemory::create(1 << 20, None)?;
/// let lost = Gpa::from_bits(RAM_BASE + 0x8_0000);
/// let mut ghes = Ghes::new(RAM_BASE);
/// ghes.place(&memory.checked());
///
/// ghes.lose(lost, 4096);
/// let progress = ghes.advance(&memory.checked(), Instant::now());
/// // Now the interrupt is raised, and looked again a moment later whether the guest has read the record.
/// assert!(progress.raise && progress.again.is_some());
/// let notification = ghes.notification(lost).expect("it was told");
/// assert_eq!((notification.source, notification.acked), (Source::Gsiv, None));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Ghes {
    region: u64,
    sea: ErrorSource,
    gsiv: ErrorSource,
    lost: LostPages,
    backlog: Backlog,
    /// How many records there were; each carries its number.
    records: u64,
    /// The guest has read a record since somebody asked.
    has_read: bool,
    /// Whoever looks after it does so again in a moment.
    looked_at_soon: bool,
    /// What nobody has been told yet.
    failed: VecDeque<FailedSource>,
}

/// How a guest was told of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notification {
    /// By which source.
    pub source: Source,
    /// Whether the guest has read the record; absent while it still may.
    pub acked: Option<bool>,
}

/// A source by which the guest is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedSource {
    /// Which.
    pub source: Source,
    /// Why.
    pub reason: FailedReason,
}

/// Why a guest is not told by a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailedReason {
    /// It has not read what it was told for five seconds. It may read it later.
    Unread,
    /// A page that the source needs is lost itself. The source is of no use until the guest boots again.
    Lost,
}

impl Ghes {
    /// The sources of a region of [`REGION_SIZE`] bytes, all of them disabled until [`Ghes::place`].
    #[must_use]
    pub fn new(region: u64) -> Self {
        Self {
            region,
            sea: ErrorSource::new(Source::Sea, region),
            gsiv: ErrorSource::new(Source::Gsiv, region),
            lost: LostPages::default(),
            backlog: Backlog::default(),
            records: 0,
            has_read: false,
            looked_at_soon: false,
            failed: VecDeque::new(),
        }
    }

    /// Writes the region as a guest finds it at boot, and forgets what the guest before it was told. A source that cannot be
    /// written is disabled.
    pub fn place(&mut self, memory: &dyn RegionMemory) {
        self.lost = LostPages::default();
        self.backlog = Backlog::default();
        self.has_read = false;
        self.looked_at_soon = false;
        self.failed.clear();
        for source in [&mut self.sea, &mut self.gsiv] {
            if source.place(memory).is_err() {
                self.failed.push_back(FailedSource {
                    source: source.source(),
                    reason: FailedReason::Lost,
                });
            }
        }
    }

    /// Whether memory is of the region alone: its content is not the guest's.
    #[must_use]
    pub fn holds(&self, gpa: Gpa, len: u64) -> bool {
        without(pages(gpa.bits(), len), &pages(self.region, REGION_SIZE))
            .next()
            .is_none()
    }

    /// Writes the sources anew where fresh memory has taken the place of a part of the region. What the guest has not read it is
    /// told again.
    pub fn mend(&mut self, memory: &dyn RegionMemory, gpa: Gpa, len: u64) {
        let fresh = pages(gpa.bits(), len);
        self.failed.retain(|failed| failed.reason != FailedReason::Lost);
        for source in Source::ALL {
            match self.source(source).mend(memory, &fresh) {
                Ok(unread) => self.tell_again(unread),
                Err(_) => self.fail(source, FailedReason::Lost),
            }
        }
    }

    /// Puts pages back to those that the guest has to be told of.
    fn tell_again(&mut self, told: Vec<u64>) {
        for page in told {
            self.lost.forget(&(page..page + 1));
            self.lost.add(page..page + 1);
        }
    }

    const fn source(&mut self, source: Source) -> &mut ErrorSource {
        match source {
            Source::Sea => &mut self.sea,
            Source::Gsiv => &mut self.gsiv,
        }
    }

    /// Whether the guest can be told by a source, as of the last look.
    #[must_use]
    pub const fn state(&self, source: Source) -> SourceState {
        match source {
            Source::Sea => self.sea.state(),
            Source::Gsiv => self.gsiv.state(),
        }
    }

    /// A source that has failed since somebody asked, and why: each time is said once.
    pub fn take_failed(&mut self) -> Option<FailedSource> {
        self.failed.pop_front()
    }

    /// Notes that memory is lost, of which the guest is to be told by interrupt, once. A source that lies there is disabled.
    /// [`Ghes::advance`] writes the records.
    pub fn lose(&mut self, gpa: Gpa, len: u64) {
        self.lose_pages(&pages(gpa.bits(), len));
    }

    fn lose_pages(&mut self, lost: &Range<u64>) {
        for source in Source::ALL {
            if self.source(source).lose(lost) {
                self.fail(source, FailedReason::Lost);
            }
        }
        // The region is not the guest's to retire.
        for pages in without(lost.clone(), &pages(self.region, REGION_SIZE)) {
            self.lost.add(pages);
        }
    }

    /// Puts a page that waits to be told of before those that nobody waits for.
    pub fn hurry(&mut self, gpa: Gpa) {
        self.lost.hurry(gpa.bits() / PAGE_SIZE);
    }

    /// Forgets pages that were replaced: lost again, they are told of again.
    pub fn replaced(&mut self, gpa: Gpa, len: u64) {
        let good = pages(gpa.bits(), len);
        self.lost.forget(&good);
        self.sea.forget(&good);
        self.gsiv.forget(&good);
    }

    /// How the guest was told of a page; absent where it was not yet.
    #[must_use]
    pub fn notification(&self, gpa: Gpa) -> Option<Notification> {
        let page = gpa.bits() / PAGE_SIZE;
        let [sea, gsiv] = [&self.sea, &self.gsiv].map(|source| {
            let acked = source.told_of(page)?;
            Some(Notification {
                source: source.source(),
                acked,
            })
        });
        // What was told by exception and not read was told again.
        let counts = |told: &Notification| told.acked != Some(false);
        sea.filter(counts).or(gsiv).or(sea)
    }

    /// Whether the guest has read of all of this memory that it is lost.
    #[must_use]
    pub fn is_read(&self, gpa: Gpa, len: u64) -> bool {
        let left = self.sea.not_read(pages(gpa.bits(), len));
        left.into_iter().all(|pages| self.gsiv.not_read(pages).is_empty())
    }

    /// Whether the guest has read a record, as of the last look; each is said once.
    pub const fn take_has_read(&mut self) -> bool {
        std::mem::replace(&mut self.has_read, false)
    }

    /// Whether [`Ghes::advance`] has said to look again within [`ACK_PAUSE`]: then nobody need be woken for a record by exception.
    #[must_use]
    pub const fn is_looked_at_soon(&self) -> bool {
        self.looked_at_soon
    }

    /// Leaves out of the guest's time what has passed: it did not run, and could read nothing.
    pub fn resumed(&mut self) {
        self.sea.resumed();
        self.gsiv.resumed();
    }

    /// Looks whether the guest has read the last record of a source. Returns how many pages it has read of since; nothing where
    /// the source is not to be used.
    fn look(&mut self, source: Source, memory: &dyn RegionMemory, now: Instant) -> Option<(Turn, usize)> {
        let looked_at = self.source(source);
        let before = looked_at.state();
        if before == SourceState::Disabled {
            return None;
        }
        let looked = looked_at.look(memory, now);
        let is_silent = before == SourceState::Usable && looked_at.state() == SourceState::Silent;
        match looked {
            Ok((turn, read)) => {
                self.has_read |= read > 0;
                if is_silent {
                    self.fail(source, FailedReason::Unread);
                }
                Some((turn, read))
            }
            Err(_) => {
                self.fail(source, FailedReason::Lost);
                None
            }
        }
    }

    /// Notes that a source has failed. What was told by exception, and is not read, is told by interrupt then.
    fn fail(&mut self, source: Source, reason: FailedReason) {
        self.failed.push_back(FailedSource { source, reason });
        if source == Source::Sea {
            let unread = self.sea.take_unread();
            self.tell_again(unread);
        }
    }
}

#[cfg(test)]
mod tests;
