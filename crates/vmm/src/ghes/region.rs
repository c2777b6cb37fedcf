//! The GHES region: what lies where.
//!
//! ```text
//! 0x0000  address registers, 8 bytes for each source: where its status block is
//! 0x0100  read acknowledge registers, 8 bytes for each source: 1 when the guest has read the last record
//! 0x1000  status block of the source by interrupt, 4 KiB
//! 0x2000  status block of the source by exception, 56 KiB
//! ```
//!
//! A status block must not move while the guest runs: the kernel maps that of an exception once.

use super::record;

/// The size of the GHES region in bytes.
pub const REGION_SIZE: u64 = 64 << 10;

/// A way in which a guest is told that there is a record (ACPI 6.5, 18.3.2.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// By the synchronous external abort itself: the kernel looks here before it decides what an abort at EL0 was.
    Sea,
    /// By an interrupt, through the generic event device.
    Gsiv,
}

impl Source {
    /// Every source, by its number.
    pub const ALL: [Self; 2] = [Self::Sea, Self::Gsiv];

    /// Its number in the HEST. No two have the same: else the kernel drops them all.
    pub(crate) const fn id(self) -> u16 {
        match self {
            Self::Sea => 0,
            Self::Gsiv => 1,
        }
    }

    /// The address of the register that holds the address of its status block.
    pub(crate) const fn address_register(self, region: u64) -> u64 {
        region + 8 * self.id() as u64
    }

    /// The address of the register by which the guest says that it has read a record.
    pub(crate) const fn read_ack(self, region: u64) -> u64 {
        region + 0x100 + 8 * self.id() as u64
    }

    /// The address of its status block.
    pub(crate) const fn status_block(self, region: u64) -> u64 {
        match self {
            Self::Sea => region + 0x2000,
            Self::Gsiv => region + 0x1000,
        }
    }

    /// The size of its status block in bytes. A kernel reads 64 KiB at most.
    pub(crate) const fn status_block_len(self) -> u32 {
        match self {
            Self::Sea => 0xe000,
            Self::Gsiv => 0x1000,
        }
    }

    /// How many pages one record names at most: by exception what fits, by interrupt what the kernel's queue holds
    /// (`memory_failure_queue()`, 16 for each CPU; what is more is lost).
    pub(crate) const fn max_sections(self) -> usize {
        match self {
            Self::Sea => record::sections_in(self.status_block_len() as usize),
            Self::Gsiv => 16,
        }
    }

    /// The parts of the region that the source cannot do without, as addresses and lengths.
    pub(crate) const fn parts(self, region: u64) -> [(u64, u64); 3] {
        [
            (self.address_register(region), 8),
            (self.read_ack(region), 8),
            (self.status_block(region), self.status_block_len() as u64),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_lies_in_another_or_outside() {
        let mut parts: Vec<(u64, u64)> = Source::ALL.iter().flat_map(|source| source.parts(0)).collect();
        parts.sort_unstable();
        assert_eq!(parts.len(), 6);
        assert!(parts.is_sorted_by(|before, after| before.0 + before.1 <= after.0));
        assert!(parts.iter().all(|(start, len)| start + len <= REGION_SIZE));
        // One copy of eight bytes is one access, so that nobody sees half of a register.
        assert!(parts.iter().all(|(start, _)| start.is_multiple_of(8)));
    }

    #[test]
    fn the_longest_record_of_each_source_fits_its_block() {
        for source in Source::ALL {
            let longest = record::record(&vec![0; source.max_sections()], 0);
            assert!(longest.len() <= source.status_block_len() as usize, "{source:?}");
        }
        assert_eq!(Source::Sea.max_sections(), 377);
        assert_eq!(Source::Gsiv.max_sections(), 16);
    }
}
