//! What instruction aborts and data aborts have in common.

use crate::{AbortCause, ExceptionClass, FaultStatusCode, SynchronousErrorType};

/// Whether an abort came from an instruction fetch or from a data access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AbortKind {
    /// A load, a store or a cache maintenance instruction: EC 0x24 and 0x25.
    Data,
    /// An instruction fetch: EC 0x20 and 0x21.
    Instruction,
}

impl AbortKind {
    /// Returns the exception class of such an abort, by whether it came from a lower Exception level than the
    /// one that takes it.
    pub const fn exception_class(self, lower_el: bool) -> ExceptionClass {
        match (self, lower_el) {
            (Self::Data, true) => ExceptionClass::DataAbortLowerEl,
            (Self::Data, false) => ExceptionClass::DataAbortSameEl,
            (Self::Instruction, true) => ExceptionClass::InstructionAbortLowerEl,
            (Self::Instruction, false) => ExceptionClass::InstructionAbortSameEl,
        }
    }
}

/// An abort of either kind, reduced to the facts a policy needs; see
/// [`Syndrome::abort`](crate::Syndrome::abort).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Abort {
    /// Instruction fetch or data access.
    pub kind: AbortKind,
    /// DFSC or IFSC.
    pub fault_status: FaultStatusCode,
    /// The severity, where the architecture defines it: none for every fault status but 0b010000.
    ///
    /// A value sanitised for a VM without FEAT_RAS always reads [`SynchronousErrorType::Recoverable`] here:
    /// whoever knows that the VM has no FEAT_RAS must take the severity for unknown.
    pub set: Option<SynchronousErrorType>,
    /// Whether FAR_ELx holds the faulting address: the inverse of FnV, taken at its word for every fault status
    /// because KVM withholds the address whenever the bit is set.
    pub far_valid: bool,
    /// EA: an IMPLEMENTATION DEFINED classification of External aborts.
    pub external_type: bool,
    /// CM: a cache maintenance or address translation instruction; false for instruction aborts. DC ZVA and its
    /// kin are not among them: they report an ordinary write.
    pub cache_maintenance: bool,
    /// S1PTW: a stage 2 fault on a stage 1 table walk. Always false in what KVM_EXIT_ARM_SEA reports.
    pub s1ptw: bool,
    /// WnR: true for a write, false for a read, none for instruction aborts. Always true where
    /// `cache_maintenance` is, and UNKNOWN for an External abort on an atomic access.
    pub write: Option<bool>,
    /// Whether the exception class says "from a lower Exception level". KVM_EXIT_ARM_SEA always does, as
    /// the abort was taken to EL2: it does not tell EL0 from EL1, [`Pstate`](crate::Pstate) does.
    pub lower_el: bool,
}

impl Abort {
    /// Says what kind of memory error this is; the same as the fault status's cause.
    pub const fn cause(&self) -> AbortCause {
        self.fault_status.cause()
    }

    /// Returns the level of the translation table walk that aborted, -2 to 3; none where the access did.
    pub const fn walk_level(&self) -> Option<i8> {
        self.fault_status.walk_level()
    }
}
