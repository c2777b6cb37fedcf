//! Why a memory access aborted: the DFSC and IFSC fields.

use core::fmt;

/// The fault status code of an abort: ISS.DFSC or ISS.IFSC, bits 5:0, which share their encoding.
///
/// All 64 values exist; reserved ones keep their bits (DDI 0487, ESR_EL1, *DFSC, bits \[5:0\]*). A code means
/// something else in an SError: see [`SErrorStatus`](crate::SErrorStatus).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FaultStatusCode(u8);

/// What kind of memory error, if any, a fault status code reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AbortCause {
    /// A synchronous External abort on the access itself.
    External,
    /// A synchronous External abort on a translation table walk or hardware update of a translation table.
    ExternalTableWalk,
    /// A synchronous parity or ECC error on the access itself. A PE with FEAT_RAS reports
    /// [`External`](Self::External) instead.
    ParityEcc,
    /// A synchronous parity or ECC error on a translation table walk. A PE with FEAT_RAS reports
    /// [`ExternalTableWalk`](Self::ExternalTableWalk) instead.
    ParityEccTableWalk,
    /// Anything else: translation, permission, alignment and the other faults that are no memory error.
    Other,
}

impl FaultStatusCode {
    /// 0b010000: synchronous External abort, not on a translation table walk. The only code for which SET and
    /// FnV are defined.
    pub const EXTERNAL_ABORT: Self = Self(0x10);

    /// Makes a code of its six bits; higher bits of `bits` are ignored.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 0x3f)
    }

    /// Returns the six bits of the code.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Says what kind of memory error this is.
    pub const fn cause(self) -> AbortCause {
        match self.0 {
            0x10 => AbortCause::External,
            0x12..=0x17 => AbortCause::ExternalTableWalk,
            0x18 => AbortCause::ParityEcc,
            0x1b..=0x1f => AbortCause::ParityEccTableWalk,
            _ => AbortCause::Other,
        }
    }

    /// Says whether KVM takes this for a synchronous External abort: exactly 0x10, 0x13 to 0x17, 0x18 and
    /// 0x1b to 0x1f (Linux 7.3, `kvm_vcpu_abt_issea` in arch/arm64/include/asm/kvm_emulate.h).
    ///
    /// 0x12, a walk of level -2 (FEAT_D128), is an External abort too, but KVM does not treat it as one.
    pub const fn is_synchronous_external_abort(self) -> bool {
        matches!(self.0, 0x10 | 0x13..=0x18 | 0x1b..=0x1f)
    }

    /// Returns the level of the translation table, -2 to 3, on whose **walk** the abort occurred; none where
    /// the access itself aborted.
    pub const fn walk_level(self) -> Option<i8> {
        match self.0 {
            0x12..=0x17 | 0x1b..=0x1f | 0x22..=0x27 => self.level(),
            _ => None,
        }
    }

    /// Returns the level of the translation table, -2 to 3, that the code names, whether the walk aborted there
    /// or the entry found there refused the access.
    pub const fn level(self) -> Option<i8> {
        match self.0 {
            0x12 | 0x22 | 0x2a | 0x2c => Some(-2),
            0x13 | 0x1b | 0x23 | 0x29 | 0x2b => Some(-1),
            0x00..=0x0f | 0x14..=0x17 | 0x1c..=0x1f | 0x24..=0x27 => match self.0 & 0b11 {
                0 => Some(0),
                1 => Some(1),
                2 => Some(2),
                _ => Some(3),
            },
            _ => None,
        }
    }

    /// Describes the code after the Arm ARM; reserved codes say so.
    pub const fn description(self) -> &'static str {
        match self.0 {
            0x00 => "address size fault, level 0 of translation or translation table base register",
            0x01 => "address size fault, level 1",
            0x02 => "address size fault, level 2",
            0x03 => "address size fault, level 3",
            0x04 => "translation fault, level 0",
            0x05 => "translation fault, level 1",
            0x06 => "translation fault, level 2",
            0x07 => "translation fault, level 3",
            0x08 => "access flag fault, level 0",
            0x09 => "access flag fault, level 1",
            0x0a => "access flag fault, level 2",
            0x0b => "access flag fault, level 3",
            0x0c => "permission fault, level 0",
            0x0d => "permission fault, level 1",
            0x0e => "permission fault, level 2",
            0x0f => "permission fault, level 3",
            0x10 => "synchronous external abort, not on translation table walk",
            0x11 => "synchronous tag check fault",
            0x12 => "synchronous external abort on translation table walk, level -2",
            0x13 => "synchronous external abort on translation table walk, level -1",
            0x14 => "synchronous external abort on translation table walk, level 0",
            0x15 => "synchronous external abort on translation table walk, level 1",
            0x16 => "synchronous external abort on translation table walk, level 2",
            0x17 => "synchronous external abort on translation table walk, level 3",
            0x18 => "synchronous parity or ECC error, not on translation table walk",
            0x1b => "synchronous parity or ECC error on translation table walk, level -1",
            0x1c => "synchronous parity or ECC error on translation table walk, level 0",
            0x1d => "synchronous parity or ECC error on translation table walk, level 1",
            0x1e => "synchronous parity or ECC error on translation table walk, level 2",
            0x1f => "synchronous parity or ECC error on translation table walk, level 3",
            0x21 => "alignment fault",
            0x22 => "granule protection fault on translation table walk, level -2",
            0x23 => "granule protection fault on translation table walk, level -1",
            0x24 => "granule protection fault on translation table walk, level 0",
            0x25 => "granule protection fault on translation table walk, level 1",
            0x26 => "granule protection fault on translation table walk, level 2",
            0x27 => "granule protection fault on translation table walk, level 3",
            0x28 => "granule protection fault, not on translation table walk",
            0x29 => "address size fault, level -1",
            0x2a => "translation fault, level -2",
            0x2b => "translation fault, level -1",
            0x2c => "address size fault, level -2",
            0x30 => "TLB conflict abort",
            0x31 => "unsupported atomic hardware update fault",
            0x32 => "PLB conflict abort",
            0x34 => "IMPLEMENTATION DEFINED fault (lockdown)",
            0x35 => "IMPLEMENTATION DEFINED fault (unsupported exclusive or atomic access)",
            _ => "reserved fault status code",
        }
    }
}

impl fmt::Display for FaultStatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.0)
    }
}
