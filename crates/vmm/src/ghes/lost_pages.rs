//! Which lost pages the guest has to be told of: each once, in the order in which they were lost.

use std::collections::VecDeque;
use std::ops::Range;

use super::page_set::{PageSet, without};

/// The lost pages of one guest, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct LostPages {
    /// Of those somebody waits for.
    urgent: VecDeque<u64>,
    /// The others, in ranges of which none lies in another.
    waiting: VecDeque<Range<u64>>,
    /// Every page that waits, or that a record was written of.
    known: PageSet,
}

impl LostPages {
    /// Adds those pages that are not known yet.
    pub(crate) fn add(&mut self, pages: Range<u64>) {
        self.waiting.extend(self.known.missing(pages.clone()));
        self.known.insert(pages);
    }

    /// Puts a page before all that nobody waits for, if it waits itself.
    pub(crate) fn hurry(&mut self, page: u64) {
        if self.waiting.iter().any(|range| range.contains(&page)) {
            self.cut_out(&(page..page + 1));
            self.urgent.push_back(page);
        }
    }

    /// Notes that a record of these pages was written.
    pub(crate) fn told(&mut self, pages: &Range<u64>) {
        self.cut_out(pages);
        self.known.insert(pages.clone());
    }

    /// Forgets pages that are good again.
    pub(crate) fn forget(&mut self, pages: &Range<u64>) {
        self.cut_out(pages);
        self.known.remove(pages);
    }

    /// How many of the next pages somebody waits for.
    pub(crate) fn urgent(&self) -> usize {
        self.urgent.len()
    }

    /// How many pages there are to be told of, counted up to a limit.
    pub(crate) fn count(&self, limit: usize) -> usize {
        let others = self.waiting.iter().cloned().flatten();
        let room = limit.saturating_sub(self.urgent.len());
        (self.urgent.len() + others.take(room).count()).min(limit)
    }

    /// Takes the next pages, `limit` at most.
    pub(crate) fn take(&mut self, limit: usize) -> Vec<u64> {
        let mut taken = Vec::new();
        while taken.len() < limit {
            if let Some(page) = self.urgent.pop_front() {
                taken.push(page);
                continue;
            }
            let Some(range) = self.waiting.front_mut() else {
                break;
            };
            taken.extend(range.next());
            if range.is_empty() {
                self.waiting.pop_front();
            }
        }
        taken
    }

    /// Removes pages from those that wait.
    fn cut_out(&mut self, pages: &Range<u64>) {
        self.urgent.retain(|page| !pages.contains(page));
        if self
            .waiting
            .iter()
            .any(|range| range.start < pages.end && pages.start < range.end)
        {
            let ranges = std::mem::take(&mut self.waiting);
            self.waiting = ranges
                .into_iter()
                .flat_map(|range| without(range, pages))
                .collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn lost<const N: usize>(ranges: [(u64, u64); N]) -> LostPages {
        let mut lost = LostPages::default();
        for (first, behind) in ranges {
            lost.add(first..behind);
        }
        lost
    }

    #[test]
    fn pages_are_told_of_in_the_order_of_their_loss_and_once() {
        let mut lost = lost([(7, 8), (3, 5), (7, 8), (2, 6)]);
        assert_eq!(lost.take(3), [7, 3, 4]);
        lost.add(3..5);
        assert_eq!(lost.take(9), [2, 5]);
        lost.add(2..8);
        assert_eq!(lost.take(9), [6], "the one that was never lost before");
    }

    #[test]
    fn a_page_that_somebody_waits_for_comes_first() {
        let mut lost = lost([(0, 512)]);
        lost.hurry(300);
        lost.hurry(100);
        lost.hurry(300);
        lost.hurry(512);
        assert_eq!(lost.urgent(), 2);
        assert_eq!(lost.take(4), [300, 100, 0, 1]);
        lost.hurry(300);
        assert_eq!((lost.urgent(), lost.take(1)), (0, vec![2]), "it was told of");
    }

    #[test]
    fn what_was_told_in_another_record_is_not_told_again() {
        let mut lost = lost([(0, 20)]);
        lost.hurry(5);
        lost.told(&(4..19));
        lost.add(0..21);
        assert_eq!(lost.take(99), [0, 1, 2, 3, 19, 20]);
    }

    #[test]
    fn a_page_that_is_lost_again_is_told_of_again() {
        let mut lost = lost([(0, 2)]);
        assert_eq!(lost.take(1), [0]);
        lost.forget(&(0..2));
        assert_eq!(lost.count(1), 0);
        lost.add(0..1);
        assert_eq!(lost.take(9), [0]);
    }

    #[test]
    fn pages_are_counted_up_to_a_limit() {
        let mut lost = lost([(0, 3), (10, 12)]);
        lost.hurry(1);
        for (limit, count) in [(0, 0), (1, 1), (4, 4), (5, 5), (6, 5), (usize::MAX, 5)] {
            assert_eq!(lost.count(limit), count);
        }
    }

    #[test]
    fn a_huge_page_is_one_range() {
        let mut lost = lost([(0, 1 << 18)]);
        lost.hurry(1 << 17);
        assert_eq!(lost.waiting.len(), 2);
        assert_eq!(lost.take(2), [1 << 17, 0]);
    }

    proptest! {
        #[test]
        fn every_page_is_told_of_exactly_once(
            steps in prop::collection::vec((0..4_u8, 0..64_u64, 1..20_u64), 0..60),
        ) {
            let mut lost = LostPages::default();
            let (mut told, mut added) = (BTreeSet::new(), BTreeSet::new());
            for (step, start, len) in steps {
                match step {
                    0 | 1 => {
                        lost.add(start..start + len);
                        added.extend(start..start + len);
                    }
                    2 => lost.hurry(start),
                    _ => for page in lost.take(usize::try_from(len).expect("small")) {
                        prop_assert!(told.insert(page), "{} twice", page);
                    },
                }
            }
            for page in lost.take(usize::MAX) {
                prop_assert!(told.insert(page), "{} twice", page);
            }
            prop_assert_eq!(told, added);
        }
    }
}
