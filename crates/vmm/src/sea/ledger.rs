//! Which pages of a guest are lost, and how often each was hit.
//!
//! No guest makes it grow without bound: its pages do not overlap, and each holds a page of guest RAM, so that there are at
//! most as many as RAM has. An address outside RAM, which hardware may name, is counted as a failure and is no page.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::SystemTime;

use seawall_arm64::Gpa;

use crate::memory_layout::RAM_BASE;
use crate::sea::memory_error::FailureSource;
use crate::sea::poisoned_page::{Granule, PageHit, PageState, PoisonedPage};

/// Every lost page of one guest. Pages are never forgotten.
#[derive(Debug)]
pub struct Ledger {
    /// The guest-physical addresses of RAM.
    ram: Range<u64>,
    pages: BTreeMap<Gpa, PoisonedPage>,
    failures: u64,
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
    /// No page of a guest with so many bytes of RAM is lost yet.
    #[must_use]
    pub const fn of_ram(bytes: u64) -> Self {
        Self {
            ram: RAM_BASE..RAM_BASE.saturating_add(bytes),
            pages: BTreeMap::new(),
            failures: 0,
        }
    }

    /// Counts one failure, on the page of `gpa` where it is known and lies in RAM: the one that lies around it already, or a
    /// new one of this granule, which takes in the smaller ones inside it.
    pub fn record(
        &mut self,
        gpa: Option<Gpa>,
        granule: Granule,
        source: FailureSource,
        now: impl FnOnce() -> SystemTime,
    ) -> Option<PageHit> {
        self.failures += 1;
        let gpa = gpa.filter(|gpa| self.ram.contains(&gpa.bits()))?;
        if let Some(page) = self.around_mut(gpa)
            && page.size >= granule.bytes()
        {
            return Some(page.hit());
        }
        let size = granule.bytes();
        let start = gpa.page(size);
        let hits = self.take_in(start, size);
        let page = self.pages.entry(start).or_insert(PoisonedPage {
            gpa: start,
            size,
            state: PageState::Poisoned,
            hits,
            first_seen: now(),
            source,
        });
        Some(page.hit())
    }

    /// The page that an address lies in, whatever was done about it.
    #[must_use]
    pub fn around(&self, gpa: Gpa) -> Option<&PoisonedPage> {
        let (_, page) = self.pages.range(..=gpa).next_back()?;
        (gpa.bits() - page.gpa.bits() < page.size).then_some(page)
    }

    fn around_mut(&mut self, gpa: Gpa) -> Option<&mut PoisonedPage> {
        let (_, page) = self.pages.range_mut(..=gpa).next_back()?;
        (gpa.bits() - page.gpa.bits() < page.size).then_some(page)
    }

    /// Forgets the smaller pages inside a larger one, and says how often they were hit.
    fn take_in(&mut self, start: Gpa, size: u64) -> u64 {
        let end = Gpa::from_bits(start.bits().saturating_add(size));
        let inside: Vec<Gpa> = self
            .pages
            .range(start..end)
            .filter(|(_, page)| page.size < size)
            .map(|(gpa, _)| *gpa)
            .collect();
        inside
            .iter()
            .filter_map(|gpa| self.pages.remove(gpa))
            .map(|page| page.hits)
            .sum()
    }

    /// Notes what was done about a page. Returns the page and the state it was in, where it is known.
    pub fn set_state(&mut self, gpa: Gpa, state: PageState) -> Option<(PoisonedPage, PageState)> {
        let page = self.pages.get_mut(&gpa)?;
        let from = std::mem::replace(&mut page.state, state);
        Some((*page, from))
    }

    /// The lost page that holds a byte of the range, if there is one. A replaced page is good again.
    #[must_use]
    pub fn lost(&self, gpa: u64, len: u64) -> Option<&PoisonedPage> {
        let end = gpa.saturating_add(len);
        let before_end = self.pages.range(..Gpa::from_bits(end)).rev();
        before_end
            .filter(|(start, page)| start.bits().saturating_add(page.size) > gpa)
            .map(|(_, page)| page)
            .find(|page| page.state != PageState::Replaced)
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
    use crate::memory_layout::PAGE_SIZE;

    const RAM: u64 = 8 << 20;
    const NOW: fn() -> SystemTime = || SystemTime::UNIX_EPOCH;

    fn hit(ledger: &mut Ledger, gpa: u64) -> PageHit {
        ledger
            .record(Some(Gpa::from_bits(gpa)), Granule::PAGE, FailureSource::Sea, NOW)
            .expect("a known page")
    }

    #[test]
    fn two_hits_on_one_page_are_one_distinct_page() {
        let mut ledger = Ledger::of_ram(RAM);
        let first = hit(&mut ledger, 0x8010_0000);
        let second = hit(&mut ledger, 0x8010_0ff8);
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
        let mut ledger = Ledger::of_ram(RAM);
        assert_eq!(ledger.record(None, Granule::PAGE, FailureSource::Sea, NOW), None);
        assert_eq!(
            ledger.totals(),
            LedgerTotals {
                distinct_pages: 0,
                failures: 1
            }
        );
    }

    #[test]
    fn an_address_outside_ram_is_counted_and_is_no_page() {
        let mut ledger = Ledger::of_ram(RAM);
        for gpa in [0, RAM_BASE - 1, RAM_BASE + RAM, u64::MAX] {
            let gpa = Some(Gpa::from_bits(gpa));
            assert_eq!(ledger.record(gpa, Granule::PAGE, FailureSource::Sea, NOW), None);
        }
        assert!(hit(&mut ledger, RAM_BASE).first && hit(&mut ledger, RAM_BASE + RAM - 1).first);
        assert_eq!(
            ledger.totals(),
            LedgerTotals {
                distinct_pages: 2,
                failures: 6
            }
        );
    }

    #[test]
    fn no_guest_makes_the_ledger_larger_than_its_ram() {
        let mut ledger = Ledger::of_ram(RAM);
        // xorshift64: the same addresses in every run.
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for number in 0..1_000_000_u64 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // By turns anywhere, and near RAM: half of these in it.
            let gpa = match number % 2 {
                0 => random,
                _ => RAM_BASE - RAM / 2 + random % (2 * RAM),
            };
            // Mostly a page; now and then more of it is lost, as of huge pages, and as no page is.
            let lsb = if number % 1000 == 999 {
                random.to_le_bytes()[7]
            } else {
                12
            };
            let granule = Granule::from_lsb(if number < 900_000 { 12 } else { lsb });
            let gpa = Some(Gpa::from_bits(gpa));
            let hit = ledger.record(gpa, granule, FailureSource::Sea, NOW);
            let in_ram = gpa.is_some_and(|gpa| (RAM_BASE..RAM_BASE + RAM).contains(&gpa.bits()));
            assert_eq!(hit.is_some(), in_ram, "{gpa:?}");
            if number == 899_999 {
                assert_eq!(
                    ledger.totals().distinct_pages,
                    RAM / PAGE_SIZE,
                    "all of it was lost"
                );
            }
            assert!(ledger.pages.len() as u64 <= RAM / PAGE_SIZE, "{gpa:?}");
        }
        assert_eq!(ledger.totals().failures, 1_000_000);
    }

    #[test]
    fn a_huge_page_is_lost_as_a_whole() {
        let mut ledger = Ledger::of_ram(RAM);
        let gpa = Some(Gpa::from_bits(0x8034_5000));
        let hit = ledger
            .record(gpa, Granule::from_lsb(21), FailureSource::SigbusAr, NOW)
            .expect("known");
        assert_eq!(
            (hit.page.gpa, hit.page.size),
            (Gpa::from_bits(0x8020_0000), 2 << 20)
        );
        assert!(ledger.lost(0x803f_ffff, 1).is_some() && ledger.lost(0x8040_0000, 1).is_none());
    }

    #[test]
    fn a_huge_page_takes_in_what_was_lost_of_it_before() {
        let mut ledger = Ledger::of_ram(RAM);
        hit(&mut ledger, 0x8034_5000);
        hit(&mut ledger, 0x8034_6000);
        hit(&mut ledger, 0x8060_0000);
        let gpa = Some(Gpa::from_bits(0x8034_5000));
        let huge = ledger
            .record(gpa, Granule::from_lsb(21), FailureSource::SigbusAr, NOW)
            .expect("known");
        assert_eq!(
            (huge.page.gpa.bits(), huge.page.hits, huge.first),
            (0x8020_0000, 3, false)
        );
        assert_eq!(ledger.totals().distinct_pages, 2);
        let inside = hit(&mut ledger, 0x803f_f000);
        assert_eq!((inside.page.gpa.bits(), inside.page.hits), (0x8020_0000, 4));
    }

    #[test]
    fn a_range_is_lost_if_any_byte_of_it_is() {
        let mut ledger = Ledger::of_ram(RAM);
        hit(&mut ledger, 0x8000_1000);
        hit(&mut ledger, 0x8000_3000);
        for (gpa, len, lost) in [
            (0x8000_0000, 0x1000, false),
            (0x8000_0000, 0x1001, true),
            (0x8000_1fff, 1, true),
            (0x8000_2000, 0x1000, false),
            (0x8000_2fff, 2, true),
            (0x8000_4000, 8, false),
            (0, u64::MAX, true),
        ] {
            assert_eq!(ledger.lost(gpa, len).is_some(), lost, "{gpa:#x} {len:#x}");
        }
    }

    #[test]
    fn a_replaced_page_is_good_until_it_is_lost_again() {
        let mut ledger = Ledger::of_ram(RAM);
        let page = hit(&mut ledger, 0x8000_1000).page;
        let (_, from) = ledger.set_state(page.gpa, PageState::Replaced).expect("known");
        assert_eq!(from, PageState::Poisoned);
        assert_eq!(ledger.lost(0x8000_1000, 8), None);
        let again = hit(&mut ledger, 0x8000_1000);
        assert!(again.first);
        assert_eq!((again.page.state, again.page.hits), (PageState::Poisoned, 2));
        assert_eq!(ledger.totals().distinct_pages, 1);
    }
}
