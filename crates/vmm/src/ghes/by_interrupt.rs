//! Records of what nobody has to know at this very moment, or what the guest's kernel itself needs: as many pages in one as the
//! kernel can take.

use std::time::{Duration, Instant};

use super::error_source::{SourceState, Turn};
use super::memory::RegionMemory;
use super::wait::ACK_PAUSE;
use super::{FailedReason, Ghes, Source};

/// Between two looks at a guest that does not read its records.
const SILENT_PAUSE: Duration = Duration::from_secs(1);

/// What came of looking after the source by interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// A record was written: [`crate::memory_layout::GHES_SPI`] is to be raised.
    pub raise: bool,
    /// In what time to look again; absent where there is nothing to wait for.
    pub again: Option<Duration>,
}

impl Ghes {
    /// Looks whether the guest has read its records, and writes the next one by interrupt if there is something to tell. To be
    /// called after [`Ghes::lose`], and whenever [`Progress::again`] has passed.
    pub fn advance(&mut self, memory: &dyn RegionMemory, now: Instant) -> Progress {
        if self.sea.has_unread() || self.sea.state() == SourceState::Silent {
            self.look(Source::Sea, memory, now);
        }
        let raise = self.write_by_interrupt(memory, now);
        let again = self.again(now);
        self.looked_at_soon = again.is_some_and(|again| again <= ACK_PAUSE);
        Progress { raise, again }
    }

    /// Whether a record was written.
    fn write_by_interrupt(&mut self, memory: &dyn RegionMemory, now: Instant) -> bool {
        if !self.is_pending() {
            return false;
        }
        let Some((turn, read)) = self.look(Source::Gsiv, memory, now) else {
            return false;
        };
        self.backlog.add(read, now);
        if turn == Turn::Busy || !self.backlog.wait_for(self.next_batch(), now).is_zero() {
            return false;
        }
        let count = self.backlog.room(now).min(Source::Gsiv.max_sections());
        let pages = self.lost.take(count);
        if pages.is_empty() {
            return false;
        }
        self.records += 1;
        let written = self.gsiv.write(memory, pages.clone(), self.records, now).is_ok();
        if !written {
            self.tell_again(pages);
            self.fail(Source::Gsiv, FailedReason::Lost);
        }
        written
    }

    /// Whether the guest has to be told something by interrupt, or has not read it.
    fn is_pending(&self) -> bool {
        self.gsiv.has_unread() || self.lost.count(1) > 0
    }

    /// For how many pages there must be room before a record is written: for all that fit into one, unless somebody waits.
    fn next_batch(&self) -> usize {
        match self.lost.urgent() {
            0 => self.lost.count(Source::Gsiv.max_sections()),
            _ => 1,
        }
    }

    fn again(&self, now: Instant) -> Option<Duration> {
        let by_exception = self.sea.has_unread().then(|| match self.sea.state() {
            SourceState::Disabled => None,
            SourceState::Silent => Some(SILENT_PAUSE),
            SourceState::Usable => Some(ACK_PAUSE),
        });
        let by_interrupt = self.is_pending().then(|| match self.gsiv.state() {
            SourceState::Disabled => None,
            SourceState::Silent => Some(SILENT_PAUSE),
            SourceState::Usable if self.gsiv.has_unread() => Some(ACK_PAUSE),
            SourceState::Usable => Some(self.backlog.wait_for(self.next_batch(), now).max(ACK_PAUSE)),
        });
        [by_exception, by_interrupt].into_iter().flatten().flatten().min()
    }
}
