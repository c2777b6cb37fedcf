//! Guest addresses, kept apart by type because a swapped pair would poison the wrong page.

use core::fmt;

/// A guest virtual address, in bytes, as FAR_ELx holds it (tag bits included).
///
/// Displayed as a fixed-width hexadecimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gva(u64);

impl Gva {
    /// Makes a guest virtual address of a register value. Every value is valid.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the address as a register value.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Gva {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

/// A guest physical address, in bytes: what Arm calls an intermediate physical address (IPA).
///
/// Displayed as a fixed-width hexadecimal number.
#[doc(alias = "ipa")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gpa(u64);

impl Gpa {
    /// Makes a guest physical address. Every value is valid.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the address as a number of bytes.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Returns the first byte of the page that holds this address.
    ///
    /// `granule` is the page size in bytes: 4096 for the pages KVM_EXIT_ARM_SEA reports, 2 MiB or 1 GiB for
    /// hugetlb memory. A granule of 0 means no pages, and returns the address itself.
    ///
    /// ```
    /// # use seawall_arm64::Gpa;
    /// assert_eq!(Gpa::from_bits(0x8010_0a18).page(4096), Gpa::from_bits(0x8010_0000));
    /// ```
    #[must_use]
    pub const fn page(self, granule: u64) -> Self {
        match self.0.checked_rem(granule) {
            Some(offset) => Self(self.0 - offset),
            None => self,
        }
    }
}

impl fmt::Display for Gpa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}
