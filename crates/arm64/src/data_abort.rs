//! The syndrome of a data abort.

use crate::bits::{bit, bits, bits_u8, bits_u32, with_bit, with_bits};
use crate::{FaultStatusCode, SynchronousErrorType};

/// The ISS of a data abort, all 25 bits (DDI 0487, ESR_EL1, *ISS encoding for an exception from a Data Abort*).
///
/// The bits themselves are kept and every field is read out of them, so no combination is lost or refused. A
/// `with_…` method replaces one field and leaves the others alone.
///
/// ```
/// use seawall_arm64::{DataAbort, FaultStatusCode, SynchronousErrorType};
///
/// let abort = DataAbort::default()
///     .with_fault_status(FaultStatusCode::EXTERNAL_ABORT)
///     .with_set(SynchronousErrorType::Restartable)
///     .with_far_valid(false);
/// assert_eq!(abort.encode(), 0x1c10);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DataAbort(u64);

/// How wide the access was: ISS.SAS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessSize {
    /// 0b00: one byte.
    Byte,
    /// 0b01: two bytes.
    Halfword,
    /// 0b10: four bytes.
    Word,
    /// 0b11: eight bytes.
    Doubleword,
}

impl AccessSize {
    /// Decodes the two bits of ISS.SAS; higher bits of `bits` are ignored.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0b11 {
            0b00 => Self::Byte,
            0b01 => Self::Halfword,
            0b10 => Self::Word,
            _ => Self::Doubleword,
        }
    }

    /// Encodes the two bits of ISS.SAS.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Byte => 0b00,
            Self::Halfword => 0b01,
            Self::Word => 0b10,
            Self::Doubleword => 0b11,
        }
    }

    /// Returns the width in bytes.
    pub const fn bytes(self) -> u8 {
        1 << self.bits()
    }
}

impl DataAbort {
    /// Decodes an ISS; bits beyond 24:0 are ignored.
    pub const fn decode(iss: u32) -> Self {
        Self(bits(iss as u64, 24, 0))
    }

    /// Encodes the ISS, bits 24:0.
    pub const fn encode(self) -> u32 {
        bits_u32(self.0, 24, 0)
    }

    /// Returns ISV, bit 24: whether `sas`, `sse`, `srt`, `sf` and `ar` describe the instruction.
    ///
    /// KVM clears ISV and all of them in what KVM_EXIT_ARM_SEA reports.
    pub const fn isv(self) -> bool {
        bit(self.0, 24)
    }

    /// Returns SAS, bits 23:22: the access size. Meaningful only where [`isv`](Self::isv) is true.
    pub const fn sas(self) -> AccessSize {
        AccessSize::from_bits(bits_u8(self.0, 23, 22))
    }

    /// Returns SSE, bit 21: whether the loaded item is sign-extended. Meaningful only with ISV.
    pub const fn sse(self) -> bool {
        bit(self.0, 21)
    }

    /// Returns SRT, bits 20:16: the register transferred, 0 to 31. Meaningful only with ISV.
    ///
    /// Without ISV, bits 17:16 of an External abort are WU (FEAT_RASv2).
    pub const fn srt(self) -> u8 {
        bits_u8(self.0, 20, 16)
    }

    /// Returns SF, bit 15: whether the register is 64 bits wide. Meaningful only with ISV; FnP otherwise.
    pub const fn sf(self) -> bool {
        bit(self.0, 15)
    }

    /// Returns AR, bit 14: whether the access has acquire or release semantics. Meaningful only with ISV; PFV
    /// of an External abort otherwise (FEAT_PFAR).
    pub const fn ar(self) -> bool {
        bit(self.0, 14)
    }

    /// Returns VNCR, bit 13: whether a nested guest hypervisor's access to its VNCR page aborted.
    pub const fn vncr(self) -> bool {
        bit(self.0, 13)
    }

    /// Returns SET, bits 12:11: the severity, where the architecture defines it, which is for fault status
    /// 0b010000 alone. For other codes see [`lst_bits`](Self::lst_bits).
    pub const fn set(self) -> Option<SynchronousErrorType> {
        match self.fault_status() {
            FaultStatusCode::EXTERNAL_ABORT => Some(SynchronousErrorType::from_bits(bits_u8(self.0, 12, 11))),
            _ => None,
        }
    }

    /// Returns bits 12:11 of an abort whose fault status is not 0b010000: LST, the kind of 64-byte load or
    /// store, of translation, access flag and permission faults (FEAT_LS64), reserved for the rest.
    pub const fn lst_bits(self) -> Option<u8> {
        match self.fault_status() {
            FaultStatusCode::EXTERNAL_ABORT => None,
            _ => Some(bits_u8(self.0, 12, 11)),
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

    /// Returns CM, bit 8: whether a cache maintenance or address translation instruction aborted.
    pub const fn cache_maintenance(self) -> bool {
        bit(self.0, 8)
    }

    /// Returns S1PTW, bit 7: whether stage 2 refused the access of a stage 1 table walk.
    pub const fn s1ptw(self) -> bool {
        bit(self.0, 7)
    }

    /// Returns WnR, bit 6: whether a write aborted. Always true with [`cache_maintenance`](Self::cache_maintenance).
    pub const fn write(self) -> bool {
        bit(self.0, 6)
    }

    /// Returns DFSC, bits 5:0: why the access aborted.
    pub const fn fault_status(self) -> FaultStatusCode {
        FaultStatusCode::from_bits(bits_u8(self.0, 5, 0))
    }

    /// Replaces ISV.
    #[must_use]
    pub const fn with_isv(self, isv: bool) -> Self {
        Self(with_bit(self.0, 24, isv))
    }

    /// Replaces SAS.
    #[must_use]
    pub const fn with_sas(self, sas: AccessSize) -> Self {
        Self(with_bits(self.0, 23, 22, sas.bits() as u64))
    }

    /// Replaces SSE.
    #[must_use]
    pub const fn with_sse(self, sse: bool) -> Self {
        Self(with_bit(self.0, 21, sse))
    }

    /// Replaces SRT; bits of `srt` beyond the five of the field are dropped.
    #[must_use]
    pub const fn with_srt(self, srt: u8) -> Self {
        Self(with_bits(self.0, 20, 16, srt as u64))
    }

    /// Replaces SF.
    #[must_use]
    pub const fn with_sf(self, sf: bool) -> Self {
        Self(with_bit(self.0, 15, sf))
    }

    /// Replaces AR.
    #[must_use]
    pub const fn with_ar(self, ar: bool) -> Self {
        Self(with_bit(self.0, 14, ar))
    }

    /// Replaces VNCR.
    #[must_use]
    pub const fn with_vncr(self, vncr: bool) -> Self {
        Self(with_bit(self.0, 13, vncr))
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

    /// Replaces CM.
    #[must_use]
    pub const fn with_cache_maintenance(self, cache_maintenance: bool) -> Self {
        Self(with_bit(self.0, 8, cache_maintenance))
    }

    /// Replaces S1PTW.
    #[must_use]
    pub const fn with_s1ptw(self, s1ptw: bool) -> Self {
        Self(with_bit(self.0, 7, s1ptw))
    }

    /// Replaces WnR.
    #[must_use]
    pub const fn with_write(self, write: bool) -> Self {
        Self(with_bit(self.0, 6, write))
    }

    /// Replaces DFSC. Bits 12:11 stay, and change their meaning with it.
    #[must_use]
    pub const fn with_fault_status(self, fault_status: FaultStatusCode) -> Self {
        Self(with_bits(self.0, 5, 0, fault_status.bits() as u64))
    }
}
