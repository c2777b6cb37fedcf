//! How long accesses have run again for want of each lost page.
//!
//! It is counted for the page and not for the access: two tasks of a guest that take turns, or one that goes from vCPU to vCPU,
//! would begin anew each time, and a page that the guest cannot retire would never cost it an abort.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seawall_arm64::Gpa;

use crate::memory_layout::PAGE_SIZE;

/// What accesses to one page have spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Spent {
    pub(super) retries: u32,
    /// Without the time in which the guest did not run.
    pub(super) time: Duration,
}

impl Spent {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            retries: self.retries.saturating_add(other.retries),
            time: self.time.saturating_add(other.time),
        }
    }
}

/// The lost pages of one guest that accesses have waited for.
#[derive(Debug, Default)]
pub(crate) struct Patience(Mutex<BTreeMap<Gpa, Spent>>);

impl Patience {
    pub(super) fn spent(&self, gpa: Gpa) -> Spent {
        self.pages()
            .get(&gpa.page(PAGE_SIZE))
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn spend(&self, gpa: Gpa, spent: Spent) {
        let mut pages = self.pages();
        let sum = pages.entry(gpa.page(PAGE_SIZE)).or_default();
        *sum = sum.and(spent);
    }

    /// Forgets pages that were replaced.
    pub(crate) fn replaced(&self, gpa: Gpa, len: u64) {
        let end = Gpa::from_bits(gpa.bits().saturating_add(len));
        self.pages().retain(|page, _| *page < gpa || *page >= end);
    }

    /// Begins anew with a guest that boots.
    pub(crate) fn forget(&self) {
        self.pages().clear();
    }

    fn pages(&self) -> MutexGuard<'_, BTreeMap<Gpa, Spent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_spent_on_a_page_adds_up_until_it_is_replaced() {
        let patience = Patience::default();
        let spent = |retries, ms| Spent {
            retries,
            time: Duration::from_millis(ms),
        };
        let [first, second] = [0x8000_0000, 0x8000_1000].map(Gpa::from_bits);
        patience.spend(Gpa::from_bits(0x8000_0008), spent(1, 10));
        patience.spend(first, spent(2, 5));
        patience.spend(second, spent(u32::MAX, 1));
        patience.spend(second, spent(1, 1));
        assert_eq!(patience.spent(first), spent(3, 15));
        assert_eq!(patience.spent(second), spent(u32::MAX, 2));
        patience.replaced(first, 4096);
        assert_eq!(
            (patience.spent(first), patience.spent(second)),
            (Spent::default(), spent(u32::MAX, 2))
        );
        patience.forget();
        assert_eq!(patience.spent(second), Spent::default());
    }
}
