//! The exception syndrome register as a value.

use core::fmt;

use crate::bits::{bit, bits, bits_u8, bits_u32};
use crate::{ExceptionClass, Syndrome};

/// A value of ESR_ELx, or of `kvm_run.arm_sea.esr`.
///
/// | bits | field |
/// |---|---|
/// | 63:56 | RES0 |
/// | 55:32 | ISS2 |
/// | 31:26 | EC, the exception class |
/// | 25 | IL, the length of the instruction |
/// | 24:0 | ISS, the syndrome of that class |
///
/// Displayed as a fixed-width hexadecimal number, `0x0000000092000010`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Esr(u64);

impl Esr {
    /// Makes a syndrome value of a register value. Every value is valid.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the register value.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Builds the syndrome of a 32-bit instruction (IL 1) with ISS2 and the reserved bits 0.
    ///
    /// Bits of `iss` beyond 24:0 are dropped.
    pub const fn new(class: ExceptionClass, iss: u32) -> Self {
        Self(((class.bits() as u64) << 26) | (1 << 25) | bits(iss as u64, 24, 0))
    }

    /// Returns EC, bits 31:26: what kind of exception this is.
    pub const fn exception_class(self) -> ExceptionClass {
        ExceptionClass::from_bits(bits_u8(self.0, 31, 26))
    }

    /// Returns IL, bit 25: true for a 32-bit instruction, and always true for aborts without a valid
    /// instruction syndrome, for SErrors and for instruction aborts.
    pub const fn il(self) -> bool {
        bit(self.0, 25)
    }

    /// Returns ISS, bits 24:0.
    pub const fn iss(self) -> u32 {
        bits_u32(self.0, 24, 0)
    }

    /// Returns ISS2, bits 55:32. KVM_EXIT_ARM_SEA always reports 0 here.
    pub const fn iss2(self) -> u32 {
        bits_u32(self.0, 55, 32)
    }

    /// Decodes the value; the same as [`Syndrome::decode`].
    pub const fn decode(self) -> Syndrome {
        Syndrome::decode(self)
    }
}

impl fmt::Display for Esr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}
