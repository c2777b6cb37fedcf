//! A set of pages, kept as ranges: a huge page that is lost is one range, not 262144 pages.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::memory_layout::PAGE_SIZE;

/// The numbers of the pages that hold a byte of a range of guest-physical addresses; of an empty range, one page.
pub(crate) const fn pages(gpa: u64, len: u64) -> Range<u64> {
    let last = gpa.saturating_add(len.saturating_sub(1));
    gpa / PAGE_SIZE..last / PAGE_SIZE + 1
}

/// A set of pages, by their numbers: the address of the first byte is the number times the page size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PageSet {
    /// From the first page of a range to the one behind its last. No two ranges touch each other.
    ranges: BTreeMap<u64, u64>,
}

impl PageSet {
    pub(crate) fn contains(&self, page: u64) -> bool {
        let before = self.ranges.range(..=page).next_back();
        before.is_some_and(|(_, end)| page < *end)
    }

    pub(crate) fn insert(&mut self, pages: Range<u64>) {
        if pages.is_empty() {
            return;
        }
        let Range { mut start, mut end } = pages;
        while let Some((first, behind)) = self.last_up_to(end).filter(|(_, behind)| *behind >= start) {
            self.ranges.remove(&first);
            start = start.min(first);
            end = end.max(behind);
        }
        self.ranges.insert(start, end);
    }

    pub(crate) fn remove(&mut self, pages: &Range<u64>) {
        if pages.is_empty() {
            return;
        }
        while let Some((first, behind)) = self
            .last_up_to(pages.end - 1)
            .filter(|(_, behind)| *behind > pages.start)
        {
            self.ranges.remove(&first);
            for rest in without(first..behind, pages) {
                self.ranges.insert(rest.start, rest.end);
            }
        }
    }

    /// The parts of a range that are not in the set, by address.
    pub(crate) fn missing(&self, pages: Range<u64>) -> Vec<Range<u64>> {
        if pages.is_empty() {
            return Vec::new();
        }
        let before = self.ranges.range(..pages.start).next_back();
        let inside = self.ranges.range(pages.clone());
        let mut missing = Vec::new();
        let mut next = pages.start;
        for (first, behind) in before.into_iter().chain(inside) {
            if *first > next {
                missing.push(next..*first);
            }
            next = next.max(*behind);
        }
        if next < pages.end {
            missing.push(next..pages.end);
        }
        missing
    }

    /// The last range that begins at this page or before it.
    fn last_up_to(&self, page: u64) -> Option<(u64, u64)> {
        let last = self.ranges.range(..=page).next_back();
        last.map(|(first, behind)| (*first, *behind))
    }
}

/// What is left of a range when another one is cut out: up to two ranges.
pub(crate) fn without(range: Range<u64>, hole: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
    let before = range.start..range.end.min(hole.start);
    let behind = range.start.max(hole.end)..range.end;
    [before, behind].into_iter().filter(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_of_addresses_is_the_pages_that_it_touches() {
        for (gpa, len, expected) in [
            (0x8000_0000, 4096, 0x80000..0x80001),
            (0x8000_0fff, 2, 0x80000..0x80002),
            (0x8000_0abc, 0, 0x80000..0x80001),
            (0x8020_0000, 2 << 20, 0x80200..0x80400),
            (u64::MAX, u64::MAX, (1 << 52) - 1..1 << 52),
            (0, u64::MAX, 0..1 << 52),
        ] {
            assert_eq!(pages(gpa, len), expected, "{gpa:#x} {len:#x}");
        }
    }

    fn members(set: &PageSet) -> BTreeSet<u64> {
        set.ranges
            .iter()
            .flat_map(|(first, behind)| *first..*behind)
            .collect()
    }

    proptest! {
        #[test]
        fn a_set_of_ranges_is_a_set_of_pages(
            steps in prop::collection::vec((any::<bool>(), 0..60_u64, 0..12_u64), 0..40),
            probe in (0..60_u64, 0..20_u64),
        ) {
            let mut set = PageSet::default();
            let mut model = BTreeSet::new();
            for (insert, start, len) in steps {
                let range = start..start + len;
                if insert {
                    set.insert(range.clone());
                    model.extend(range);
                } else {
                    set.remove(&range);
                    model.retain(|page| !range.contains(page));
                }
                prop_assert_eq!(members(&set), model.clone());
                let apart = set.ranges.iter().zip(set.ranges.iter().skip(1));
                prop_assert!(apart.into_iter().all(|((_, behind), (first, _))| behind < first));
            }
            let probe = probe.0..probe.0 + probe.1;
            let missing: Vec<u64> = set.missing(probe.clone()).into_iter().flatten().collect();
            let expected: Vec<u64> = probe.clone().filter(|page| !model.contains(page)).collect();
            prop_assert_eq!(missing, expected);
            for page in 0..80 {
                prop_assert_eq!(set.contains(page), model.contains(&page));
            }
        }

        #[test]
        fn what_is_cut_out_is_gone_and_nothing_else(range in (0..20_u64, 0..20_u64), hole in (0..20_u64, 0..20_u64)) {
            let (range, hole) = (range.0..range.0 + range.1, hole.0..hole.0 + hole.1);
            let left: Vec<u64> = without(range.clone(), &hole).flatten().collect();
            let expected: Vec<u64> = range.filter(|page| !hole.contains(page)).collect();
            prop_assert_eq!(left, expected);
        }
    }
}
