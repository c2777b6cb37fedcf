//! The severity a CPU gives to a memory error: ISS.SET of aborts and ISS.AET of SErrors.
//!
//! The same four words mean the same states in both fields, but their encodings differ: compare
//! [`SynchronousErrorType::from_bits`] with [`AsynchronousErrorType::from_bits`].

/// How far a synchronous External abort has damaged the state of the PE: ISS.SET, bits 12:11.
///
/// Defined only for fault status 0b010000 on a PE with FEAT_RAS (DDI 0487, ESR_EL1, *ISS encoding for an
/// exception from a Data Abort*). KVM clears the field where the VM has no FEAT_RAS: the value then reads as
/// [`Recoverable`](Self::Recoverable) and says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SynchronousErrorType {
    /// 0b00, UER: the state of the PE is recoverable if software isolates the error.
    Recoverable,
    /// 0b10, UC: the error is uncontainable, its effects may have spread beyond the state that can be named.
    Uncontainable,
    /// 0b11, UEO: the state of the PE is restartable, execution may go on from the abort.
    Restartable,
    /// 0b01: reserved by the architecture.
    Reserved,
}

impl SynchronousErrorType {
    /// Decodes the two bits of ISS.SET; higher bits of `bits` are ignored.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0b11 {
            0b00 => Self::Recoverable,
            0b10 => Self::Uncontainable,
            0b11 => Self::Restartable,
            _ => Self::Reserved,
        }
    }

    /// Encodes the two bits of ISS.SET.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Recoverable => 0b00,
            Self::Reserved => 0b01,
            Self::Uncontainable => 0b10,
            Self::Restartable => 0b11,
        }
    }

    /// Describes the type in the Arm ARM's words, short form in parentheses.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Recoverable => "recoverable (UER)",
            Self::Uncontainable => "uncontainable (UC)",
            Self::Restartable => "restartable (UEO)",
            Self::Reserved => "reserved",
        }
    }
}

/// How far an SError has damaged the state of the PE: ISS.AET, bits 12:10.
///
/// Defined only where IDS is 0 and DFSC is 0b010001 (DDI 0487, ESR_EL1, *ISS encoding for an SError
/// exception*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AsynchronousErrorType {
    /// 0b000, UC: uncontainable.
    Uncontainable,
    /// 0b001, UEU: the state of the PE is unrecoverable.
    Unrecoverable,
    /// 0b010, UEO: the state of the PE is restartable.
    Restartable,
    /// 0b011, UER: the state of the PE is recoverable.
    Recoverable,
    /// 0b110, CE: the error was corrected.
    Corrected,
    /// 0b100, 0b101 and 0b111, reserved by the architecture: the three bits themselves.
    Reserved(u8),
}

impl AsynchronousErrorType {
    /// Decodes the three bits of ISS.AET; higher bits of `bits` are ignored.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0b111 {
            0b000 => Self::Uncontainable,
            0b001 => Self::Unrecoverable,
            0b010 => Self::Restartable,
            0b011 => Self::Recoverable,
            0b110 => Self::Corrected,
            reserved => Self::Reserved(reserved),
        }
    }

    /// Encodes the three bits of ISS.AET.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Uncontainable => 0b000,
            Self::Unrecoverable => 0b001,
            Self::Restartable => 0b010,
            Self::Recoverable => 0b011,
            Self::Corrected => 0b110,
            Self::Reserved(bits) => bits & 0b111,
        }
    }

    /// Describes the type in the Arm ARM's words, short form in parentheses.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Uncontainable => "uncontainable (UC)",
            Self::Unrecoverable => "unrecoverable (UEU)",
            Self::Restartable => "restartable (UEO)",
            Self::Recoverable => "recoverable (UER)",
            Self::Corrected => "corrected (CE)",
            Self::Reserved(_) => "reserved",
        }
    }
}
