//! A page that a guest has lost: where it is, how large, and what has been done about it.

use std::time::SystemTime;

use seawall_arm64::Gpa;

use crate::memory_layout::PAGE_SIZE;
use crate::sea::memory_error::FailureSource;

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

impl PoisonedPage {
    /// Counts a failure on it.
    pub(super) const fn hit(&mut self) -> PageHit {
        // A page that was replaced on purpose and is lost again starts anew, and keeps its count.
        let replaced = matches!(self.state, PageState::Replaced);
        let first = self.hits == 0 || replaced;
        if replaced {
            self.state = PageState::Poisoned;
        }
        self.hits += 1;
        PageHit { page: *self, first }
    }
}

/// What has been done about a lost page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageState {
    /// Known to be lost; a further access consumes the error again.
    Poisoned,
    /// Out of everybody's reach: a further access consumes nothing on the hardware.
    Quarantined,
    /// In quarantine, and the guest's kernel has read that the page is lost, or its agent says that it has retired it. What is the
    /// kernel's own it cannot retire.
    GuestRetired,
    /// Out of the host's use for ever.
    HostOffline,
    /// Replaced by fresh memory, on purpose.
    Replaced,
}

impl PageState {
    /// Whether a further access consumes nothing on the hardware, and no fresh memory is there.
    #[must_use]
    pub const fn is_out_of_reach(self) -> bool {
        match self {
            Self::Quarantined | Self::GuestRetired => true,
            Self::Poisoned | Self::HostOffline | Self::Replaced => false,
        }
    }
}

/// What the ledger says about the page of one failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHit {
    /// The page, with this failure counted.
    pub page: PoisonedPage,
    /// Whether this failure is the page's first.
    pub first: bool,
}

impl PageHit {
    /// The same hit of a page about which something was done.
    #[must_use]
    pub const fn in_state(self, state: PageState) -> Self {
        Self {
            page: PoisonedPage { state, ..self.page },
            ..self
        }
    }
}

/// The size of what an error lost, as a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granule(u64);

impl Granule {
    /// The granule of guest RAM: what is lost where nobody says more.
    pub const PAGE: Self = Self(PAGE_SIZE);

    /// Of `si_addr_lsb`; less than a page, or nonsense, is a page.
    #[must_use]
    pub const fn from_lsb(lsb: u8) -> Self {
        match 1u64.checked_shl(lsb as u32) {
            Some(size) if size > PAGE_SIZE => Self(size),
            _ => Self::PAGE,
        }
    }

    /// Of a size in bytes: the largest power of two it holds, a page at least.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        match bytes.checked_ilog2() {
            Some(log) if bytes > PAGE_SIZE => Self(1 << log),
            _ => Self::PAGE,
        }
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn granules_below_a_page_and_nonsense_are_a_page() {
        for lsb in [0, 6, 12, 64, 255] {
            assert_eq!(Granule::from_lsb(lsb), Granule::PAGE, "{lsb}");
        }
        assert_eq!(Granule::from_lsb(16).bytes(), 65536);
    }
}
