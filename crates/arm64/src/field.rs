//! One named bit field of a register, for printing.

use core::fmt;

/// A field of an ESR value, as [`Syndrome::fields`](crate::Syndrome::fields) lists them.
///
/// Displayed as one aligned line: name, bits, value and meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// The Arm ARM's name of the field; `RES0` for reserved bits.
    pub name: &'static str,
    /// The highest and the lowest bit of the field in the 64-bit register, both included.
    pub bits: (u8, u8),
    /// The value of the field, moved down to bit 0.
    pub value: u64,
    /// What that value means, in a few words; empty where the field is a plain number.
    pub meaning: &'static str,
}

impl Field {
    /// Returns how many bits the field has, 1 to 64.
    pub const fn width(&self) -> u8 {
        self.bits.0.abs_diff(self.bits.1).saturating_add(1)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hi, lo) = self.bits;
        write!(f, "{:<11}  ", self.name)?;
        let used = if hi == lo {
            write!(f, "{hi:>5}  {}", self.value)?;
            1
        } else {
            let hi_width = if lo < 10 { 3 } else { 2 };
            let digits = usize::from(self.width().div_ceil(4));
            write!(f, "{hi:>hi_width$}:{lo}  0x{:0digits$x}", self.value)?;
            2 + digits
        };
        if self.meaning.is_empty() {
            Ok(())
        } else {
            write!(
                f,
                "{:gap$}{}",
                "",
                self.meaning,
                gap = VALUE_COLUMN.saturating_sub(used)
            )
        }
    }
}

/// How many characters the widest value takes (the 25 bits of an ISS), and the gap after it.
const VALUE_COLUMN: usize = 11;
