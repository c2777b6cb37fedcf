//! The syndrome of an instruction abort.

use crate::bits::{bit, bits, bits_u8, bits_u32, with_bit, with_bits};
use crate::{FaultStatusCode, SynchronousErrorType};

/// The ISS of an instruction abort, all 25 bits (DDI 0487, ESR_EL1, *ISS encoding for an exception from an
/// Instruction Abort*).
///
/// The bits themselves are kept, reserved ones too. A `with_…` method replaces one field and leaves the others
/// alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct InstructionAbort(u64);

impl InstructionAbort {
    /// Decodes an ISS; bits beyond 24:0 are ignored.
    pub const fn decode(iss: u32) -> Self {
        Self(bits(iss as u64, 24, 0))
    }

    /// Encodes the ISS, bits 24:0.
    pub const fn encode(self) -> u32 {
        bits_u32(self.0, 24, 0)
    }

    /// Returns SET, bits 12:11: the severity, where the architecture defines it, which is for fault status
    /// 0b010000 alone.
    pub const fn set(self) -> Option<SynchronousErrorType> {
        match self.fault_status() {
            FaultStatusCode::EXTERNAL_ABORT => Some(SynchronousErrorType::from_bits(bits_u8(self.0, 12, 11))),
            _ => None,
        }
    }

    /// Says whether FAR_ELx holds the faulting address: the inverse of FnV, bit 10.
    pub const fn far_valid(self) -> bool {
        !bit(self.0, 10)
    }

    /// Returns EA, bit 9: an IMPLEMENTATION DEFINED classification of External aborts.
    pub const fn external_type(self) -> bool {
        bit(self.0, 9)
    }

    /// Returns S1PTW, bit 7: whether stage 2 refused the access of a stage 1 table walk.
    pub const fn s1ptw(self) -> bool {
        bit(self.0, 7)
    }

    /// Returns IFSC, bits 5:0: why the fetch aborted.
    pub const fn fault_status(self) -> FaultStatusCode {
        FaultStatusCode::from_bits(bits_u8(self.0, 5, 0))
    }

    /// Replaces bits 12:11 by a severity. They read back as one only with fault status 0b010000.
    #[must_use]
    pub const fn with_set(self, set: SynchronousErrorType) -> Self {
        Self(with_bits(self.0, 12, 11, set.bits() as u64))
    }

    /// Replaces FnV by the inverse of `far_valid`.
    #[must_use]
    pub const fn with_far_valid(self, far_valid: bool) -> Self {
        Self(with_bit(self.0, 10, !far_valid))
    }

    /// Replaces EA.
    #[must_use]
    pub const fn with_external_type(self, external_type: bool) -> Self {
        Self(with_bit(self.0, 9, external_type))
    }

    /// Replaces S1PTW.
    #[must_use]
    pub const fn with_s1ptw(self, s1ptw: bool) -> Self {
        Self(with_bit(self.0, 7, s1ptw))
    }

    /// Replaces IFSC. Bits 12:11 stay, and change their meaning with it.
    #[must_use]
    pub const fn with_fault_status(self, fault_status: FaultStatusCode) -> Self {
        Self(with_bits(self.0, 5, 0, fault_status.bits() as u64))
    }
}
