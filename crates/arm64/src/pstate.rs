//! The process state of an interrupted vCPU: who consumed the error, and what was masked.

use core::fmt;

use crate::bits::{bit, bits_u8};
use crate::{AArch32Mode, Mode};

/// A PSTATE or SPSR_ELx value, all 64 bits (DDI 0487, *SPSR_EL1, Saved Program Status Register (EL1)*).
///
/// KVM gives it as the core register `pstate`. Displayed as the value, the condition and mask flags (a capital
/// letter is a set flag) and the mode: `0x00000000600003c5 (nZCv DAIF EL1h)`.
///
/// ```
/// use seawall_arm64::{Mode, Pstate};
///
/// let interrupted = Pstate::from_bits(0x6000_0000);
/// assert_eq!(interrupted.mode(), Mode::El0t);
/// assert!(interrupted.is_user());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pstate(u64);

impl Pstate {
    /// Makes a process state of a register value. Every value is valid.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the register value.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Returns M, bits 4:0.
    pub const fn mode(self) -> Mode {
        Mode::from_bits(bits_u8(self.0, 4, 0))
    }

    /// Says whether an application was interrupted, AArch64 or AArch32; everything else is privileged.
    pub const fn is_user(self) -> bool {
        matches!(self.mode(), Mode::El0t | Mode::AArch32(AArch32Mode::User))
    }

    /// Says whether AArch32 code was interrupted.
    pub const fn is_aarch32(self) -> bool {
        bit(self.0, 4)
    }

    /// Says whether KVM takes this state for one below EL1, which decides between the two exception classes of
    /// an abort: EL0t and every AArch32 mode (Linux 7.3, `inject_abt64` in arch/arm64/kvm/inject_fault.c).
    pub const fn is_below_el1(self) -> bool {
        self.is_aarch32() || bits_u8(self.0, 3, 0) == 0
    }

    /// Returns D, bit 9: whether debug exceptions are masked.
    pub const fn debug_masked(self) -> bool {
        bit(self.0, 9)
    }

    /// Returns A, bit 8: whether SErrors are masked. A synchronous External abort is taken regardless.
    pub const fn serror_masked(self) -> bool {
        bit(self.0, 8)
    }

    /// Returns I, bit 7: whether IRQs are masked.
    pub const fn irq_masked(self) -> bool {
        bit(self.0, 7)
    }

    /// Returns F, bit 6: whether FIQs are masked.
    pub const fn fiq_masked(self) -> bool {
        bit(self.0, 6)
    }
}

impl fmt::Display for Pstate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x} (", self.0)?;
        for (at, clear, set) in [(31, "n", "N"), (30, "z", "Z"), (29, "c", "C"), (28, "v", "V")] {
            f.write_str(if bit(self.0, at) { set } else { clear })?;
        }
        f.write_str(" ")?;
        for (at, clear, set) in [(9, "d", "D"), (8, "a", "A"), (7, "i", "I"), (6, "f", "F")] {
            f.write_str(if bit(self.0, at) { set } else { clear })?;
        }
        write!(f, " {})", self.mode().name())
    }
}
