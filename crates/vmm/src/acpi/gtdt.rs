//! The GTDT: the interrupts of the generic timer.
//!
//! Source: ACPI specification 6.5, section 5.2.25, in its second revision.

use super::table::{finish, header};
use crate::memory_layout::{FIRST_PPI, TIMER_PPIS};

/// There is no such block of registers.
const NONE: u64 = u64::MAX;
/// Level-triggered (bit 0 is clear), active low, and the timer goes on when the CPU sleeps. A GIC has no polarity: low is
/// what firmware says by custom.
const FLAGS: u32 = 1 << 1 | 1 << 2;

pub(super) fn gtdt() -> Vec<u8> {
    let fields = header(*b"GTDT", 2).u64(NONE).u32(0);
    // The table wants them in the same order.
    let fields = TIMER_PPIS
        .iter()
        .fold(fields, |fields, ppi| fields.u32(FIRST_PPI + ppi).u32(FLAGS));
    // No timers of the platform, and no place where they would be.
    finish(fields.u64(NONE).u32(0).u32(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::little_endian::field;

    #[test]
    fn the_four_timers_have_their_interrupts() {
        let gtdt = gtdt();
        assert_eq!((gtdt.len(), &gtdt[..4], gtdt[8]), (96, b"GTDT".as_slice(), 2));
        assert_eq!(field(&gtdt, 36, 8), u64::MAX);
        assert_eq!(field(&gtdt, 44, 4), 0);
        for (offset, interrupt) in [(48, 29), (56, 30), (64, 27), (72, 26)] {
            assert_eq!(
                (field(&gtdt, offset, 4), field(&gtdt, offset + 4, 4)),
                (interrupt, 6)
            );
        }
        assert_eq!(field(&gtdt, 80, 8), u64::MAX);
        assert_eq!(field(&gtdt, 88, 8), 0);
    }
}
