//! The syndrome of an SError.

use crate::bits::{bit, bits, bits_u8, bits_u32, with_bit, with_bits};
use crate::{AsynchronousErrorType, Esr, ExceptionClass};

/// The ISS of an SError, all 25 bits (DDI 0487, ESR_EL1, *ISS encoding for an SError exception*).
///
/// With IDS 1, bits 23:0 are IMPLEMENTATION DEFINED and no field of them is read. KVM's own SError, the one it
/// injects without a syndrome from the VMM, is IDS 1 and nothing else (Linux 7.3, `kvm_inject_serror`).
///
/// ```
/// use seawall_arm64::{AsynchronousErrorType, SError, SErrorStatus};
///
/// let serror = SError::default()
///     .with_status(SErrorStatus::AsynchronousSError)
///     .with_aet(AsynchronousErrorType::Corrected);
/// assert_eq!(serror.esr().bits(), 0xbe00_1811);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SError(u64);

/// DFSC of an SError: how much the rest of the syndrome says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SErrorStatus {
    /// 0b000000: uncategorized error, the other fields are reserved.
    Uncategorized,
    /// 0b010001: asynchronous SError, AET, EA and IESB are defined.
    AsynchronousSError,
    /// Any other value, reserved by the architecture: the six bits themselves.
    Reserved(u8),
}

impl SErrorStatus {
    /// Decodes the six bits of DFSC; higher bits of `bits` are ignored.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0x3f {
            0x00 => Self::Uncategorized,
            0x11 => Self::AsynchronousSError,
            reserved => Self::Reserved(reserved),
        }
    }

    /// Encodes the six bits of DFSC.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Uncategorized => 0x00,
            Self::AsynchronousSError => 0x11,
            Self::Reserved(bits) => bits & 0x3f,
        }
    }

    /// Describes the status after the Arm ARM.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Uncategorized => "uncategorized error",
            Self::AsynchronousSError => "asynchronous SError",
            Self::Reserved(_) => "reserved fault status code",
        }
    }
}

impl SError {
    /// Decodes an ISS; bits beyond 24:0 are ignored.
    pub const fn decode(iss: u32) -> Self {
        Self(bits(iss as u64, 24, 0))
    }

    /// Encodes the ISS, bits 24:0: what `kvm_vcpu_events.exception.serror_esr` takes.
    pub const fn encode(self) -> u32 {
        bits_u32(self.0, 24, 0)
    }

    /// Returns the ESR_EL1 a guest reads on taking this SError: `0xbe000000 | iss`.
    pub const fn esr(self) -> Esr {
        Esr::new(ExceptionClass::SError, self.encode())
    }

    /// Returns IDS, bit 24: whether the rest of the syndrome is IMPLEMENTATION DEFINED.
    pub const fn implementation_defined(self) -> bool {
        bit(self.0, 24)
    }

    /// Returns bits 23:0 of an IMPLEMENTATION DEFINED syndrome.
    pub const fn implementation_defined_bits(self) -> Option<u32> {
        if self.implementation_defined() {
            Some(bits_u32(self.0, 23, 0))
        } else {
            None
        }
    }

    /// Returns IESB, bit 13: whether an implicit error synchronization event synchronized the SError. Defined
    /// only for [`SErrorStatus::AsynchronousSError`].
    pub const fn iesb(self) -> Option<bool> {
        if self.is_categorized() {
            Some(bit(self.0, 13))
        } else {
            None
        }
    }

    /// Returns AET, bits 12:10: the severity. Defined only for [`SErrorStatus::AsynchronousSError`].
    pub const fn aet(self) -> Option<AsynchronousErrorType> {
        if self.is_categorized() {
            Some(AsynchronousErrorType::from_bits(bits_u8(self.0, 12, 10)))
        } else {
            None
        }
    }

    /// Returns EA, bit 9: an IMPLEMENTATION DEFINED classification of External aborts. Defined only for
    /// [`SErrorStatus::AsynchronousSError`].
    pub const fn external_type(self) -> Option<bool> {
        if self.is_categorized() {
            Some(bit(self.0, 9))
        } else {
            None
        }
    }

    /// Returns DFSC, bits 5:0; none where the syndrome is IMPLEMENTATION DEFINED.
    pub const fn status(self) -> Option<SErrorStatus> {
        if self.implementation_defined() {
            None
        } else {
            Some(SErrorStatus::from_bits(bits_u8(self.0, 5, 0)))
        }
    }

    /// Replaces IDS, and with it the meaning of every other bit.
    #[must_use]
    pub const fn with_implementation_defined(self, implementation_defined: bool) -> Self {
        Self(with_bit(self.0, 24, implementation_defined))
    }

    /// Replaces IESB.
    #[must_use]
    pub const fn with_iesb(self, iesb: bool) -> Self {
        Self(with_bit(self.0, 13, iesb))
    }

    /// Replaces AET.
    #[must_use]
    pub const fn with_aet(self, aet: AsynchronousErrorType) -> Self {
        Self(with_bits(self.0, 12, 10, aet.bits() as u64))
    }

    /// Replaces EA.
    #[must_use]
    pub const fn with_external_type(self, external_type: bool) -> Self {
        Self(with_bit(self.0, 9, external_type))
    }

    /// Replaces DFSC.
    #[must_use]
    pub const fn with_status(self, status: SErrorStatus) -> Self {
        Self(with_bits(self.0, 5, 0, status.bits() as u64))
    }

    const fn is_categorized(self) -> bool {
        matches!(self.status(), Some(SErrorStatus::AsynchronousSError))
    }
}
