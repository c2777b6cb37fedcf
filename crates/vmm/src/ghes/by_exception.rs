//! Records for an application of the guest that needs a lost page: the abort that it gets leads the kernel to the record.

use std::ops::Range;
use std::time::Instant;

use seawall_arm64::Gpa;

use super::error_source::{SourceState, Turn};
use super::memory::RegionMemory;
use super::page_set::pages;
use super::{FailedReason, Ghes, Source};
use crate::memory_layout::PAGE_SIZE;

/// What came of a record by exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// It is written: the abort must follow, on this vCPU and before it runs again.
    Written,
    /// The guest has not read the last one. It is worth trying again in a moment, with [`super::wait`].
    Busy,
    /// The source is silent or disabled.
    Refused,
}

impl Ghes {
    /// Writes a record by exception: for an application of the guest that needs the page at `needed`, of the memory at `gpa`
    /// that is lost with it. What does not fit into one record is told of by interrupt. Where it is not written nothing is noted:
    /// then the whole is for [`Ghes::lose`] and the page for [`Ghes::hurry`].
    pub fn tell_by_exception(
        &mut self,
        memory: &dyn RegionMemory,
        (gpa, len): (Gpa, u64),
        needed: Gpa,
        now: Instant,
    ) -> Telling {
        match self.look(Source::Sea, memory, now) {
            None => Telling::Refused,
            Some((Turn::Busy, _)) if self.sea.state() == SourceState::Silent => Telling::Refused,
            Some((Turn::Busy, _)) => Telling::Busy,
            Some((Turn::Free, _)) => self.write_by_exception(memory, &pages(gpa.bits(), len), needed, now),
        }
    }

    fn write_by_exception(
        &mut self,
        memory: &dyn RegionMemory,
        lost: &Range<u64>,
        needed: Gpa,
        now: Instant,
    ) -> Telling {
        let needed = needed.bits() / PAGE_SIZE;
        self.lose_pages(lost);
        let limit = Source::Sea.max_sections() as u64;
        let told = if lost.contains(&needed) && lost.end - lost.start <= limit {
            lost.clone()
        } else {
            needed..needed + 1
        };
        // The kernel works from the last section to the first.
        let others = told.clone().filter(|page| *page != needed);
        let sections = others.chain([needed]).collect();
        self.records += 1;
        if self.sea.state() == SourceState::Disabled {
            return Telling::Refused;
        }
        match self.sea.write(memory, sections, self.records, now) {
            Err(_) => {
                self.fail(Source::Sea, FailedReason::Lost);
                Telling::Refused
            }
            Ok(()) => {
                self.lost.told(&told);
                Telling::Written
            }
        }
    }
}
