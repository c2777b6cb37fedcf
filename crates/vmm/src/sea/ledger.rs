//! Which pages of a guest are lost, and how often each was hit.

use std::collections::BTreeMap;
use std::time::SystemTime;

use seawall_arm64::Gpa;

use crate::memory_layout::PAGE_SIZE;
use crate::sea::fault::FailureSource;

/// Every lost page of one guest. Pages are never forgotten.
#[derive(Debug, Default)]
pub struct Ledger {
    pages: BTreeMap<Gpa, PoisonedPage>,
    failures: u64,
}

/// A lost page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoisonedPage {
    /// Its first byte.
    pub gpa: Gpa,
    /// Its size in bytes.
    pub size: u64,
    /// What has been done about it.
    pub state: PageState,
    /// How often it was consumed.
    pub hits: u64,
    /// When it was first consumed.
    pub first_seen: SystemTime,
    /// How it was found.
    pub source: FailureSource,
}

/// What has been done about a lost page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageState {
    /// Known to be lost; a further access consumes the error again.
    Poisoned,
}

/// What the ledger says about the page of one failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHit {
    /// The page, with this failure counted.
    pub page: PoisonedPage,
    /// Whether this failure is the page's first.
    pub first: bool,
}

/// The sums of a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LedgerTotals {
    /// How many different pages are lost.
    pub distinct_pages: u64,
    /// How many failures there were, also those whose page is not known.
    pub failures: u64,
}

impl Ledger {
    /// Counts one failure, on the page of `gpa` where it is known.
    pub fn record(&mut self, gpa: Option<Gpa>, source: FailureSource, now: SystemTime) -> Option<PageHit> {
        self.failures += 1;
        let gpa = gpa?.page(PAGE_SIZE);
        let first = !self.pages.contains_key(&gpa);
        let page = self.pages.entry(gpa).or_insert(PoisonedPage {
            gpa,
            size: PAGE_SIZE,
            state: PageState::Poisoned,
            hits: 0,
            first_seen: now,
            source,
        });
        page.hits += 1;
        Some(PageHit { page: *page, first })
    }

    /// The sums.
    #[must_use]
    pub fn totals(&self) -> LedgerTotals {
        LedgerTotals {
            distinct_pages: self.pages.len() as u64,
            failures: self.failures,
        }
    }

    /// Every lost page, by address.
    pub fn pages(&self) -> impl Iterator<Item = &PoisonedPage> {
        self.pages.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hits_on_one_page_are_one_distinct_page() {
        let mut ledger = Ledger::default();
        let now = SystemTime::UNIX_EPOCH;
        let first = ledger
            .record(Some(Gpa::from_bits(0x8010_0000)), FailureSource::Sea, now)
            .expect("known");
        let second = ledger
            .record(Some(Gpa::from_bits(0x8010_0ff8)), FailureSource::Sea, now)
            .expect("known");
        assert!(first.first && !second.first);
        assert_eq!((first.page.hits, second.page.hits), (1, 2));
        assert_eq!(second.page.gpa, Gpa::from_bits(0x8010_0000));
        assert_eq!(
            ledger.totals(),
            LedgerTotals {
                distinct_pages: 1,
                failures: 2
            }
        );
    }

    #[test]
    fn a_failure_without_an_address_is_counted_and_is_no_page() {
        let mut ledger = Ledger::default();
        assert_eq!(
            ledger.record(None, FailureSource::Sea, SystemTime::UNIX_EPOCH),
            None
        );
        assert_eq!(
            ledger.totals(),
            LedgerTotals {
                distinct_pages: 0,
                failures: 1
            }
        );
    }
}
