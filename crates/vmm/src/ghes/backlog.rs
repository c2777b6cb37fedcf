//! How much the guest's kernel has to work off still, by the clock.
//!
//! A record that comes by interrupt goes into a queue of 16 pages for each CPU (`memory_failure_queue()` of Linux), and the
//! kernel acknowledges it before it has worked on it. What the queue has no room for is lost, with a line in the guest's log.

use std::time::{Duration, Instant};

/// How many pages the kernel's queue holds.
const QUEUE: usize = 16;
/// How long one page takes: on an emulated CPU, from the interrupt until the page was retired, it was 4.5 ms.
const PER_PAGE: Duration = Duration::from_millis(5);

/// When the guest will have worked off everything that it has read of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Backlog {
    done: Option<Instant>,
}

impl Backlog {
    /// The guest has read of these pages.
    pub(super) fn add(&mut self, pages: usize, now: Instant) {
        let from = self.done.map_or(now, |done| done.max(now));
        // A record has 377 pages at most.
        let pages = u32::try_from(pages).unwrap_or(u32::MAX);
        self.done = Some(from + PER_PAGE * pages);
    }

    /// How long it takes until there is room for so many pages.
    pub(super) fn wait_for(&self, pages: usize, now: Instant) -> Duration {
        let left = self
            .done
            .map_or(Duration::ZERO, |done| done.saturating_duration_since(now));
        let room = u32::try_from(QUEUE.saturating_sub(pages)).unwrap_or(0);
        left.saturating_sub(PER_PAGE * room)
    }

    /// How many pages there is room for.
    pub(super) fn room(&self, now: Instant) -> usize {
        (0..QUEUE)
            .rev()
            .map(|less| less + 1)
            .find(|pages| self.wait_for(*pages, now).is_zero())
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_filled_and_drains_a_page_at_a_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut backlog = Backlog::default();
        assert_eq!(backlog.room(start), 16);
        backlog.add(16, at(0));
        for (ms, room) in [(0, 0), (4, 0), (5, 1), (14, 2), (75, 15), (80, 16), (1000, 16)] {
            assert_eq!(backlog.room(at(ms)), room, "after {ms} ms");
        }
        assert_eq!(backlog.wait_for(1, at(0)), Duration::from_millis(5));
        assert_eq!(backlog.wait_for(16, at(10)), Duration::from_millis(70));
        assert_eq!(backlog.wait_for(16, at(90)), Duration::ZERO);
    }

    #[test]
    fn what_is_added_later_waits_for_what_was_there() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut backlog = Backlog::default();
        backlog.add(4, at(0));
        backlog.add(4, at(10));
        assert_eq!(
            backlog.room(at(10)),
            10,
            "two of the first four and the second four are left"
        );
        backlog.add(1, at(500));
        assert_eq!(backlog.room(at(500)), 15);
    }
}
