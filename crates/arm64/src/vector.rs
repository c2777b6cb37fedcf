//! Where in the vector table of EL1 an exception enters.

use crate::{Mode, Pstate};

/// The distance of a vector from VBAR_EL1, in bytes: 0 to 0x780 in steps of 0x80 (DDI 0487, *Exception
/// vectors*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VectorOffset(u64);

/// From where the exception came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VectorSource {
    /// EL1 with SP_EL0: offset 0x000.
    CurrentElSp0,
    /// EL1 with SP_EL1: offset 0x200.
    CurrentElSpx,
    /// A lower Exception level in AArch64: offset 0x400.
    LowerElAArch64,
    /// A lower Exception level in AArch32: offset 0x600.
    LowerElAArch32,
}

/// Which of a source's four vectors is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VectorKind {
    /// Synchronous exceptions: offset 0x000.
    Synchronous,
    /// IRQ: offset 0x080.
    Irq,
    /// FIQ: offset 0x100.
    Fiq,
    /// SError, and synchronous External aborts where SCTLR2_EL1.EASE is 1: offset 0x180.
    SError,
}

impl VectorOffset {
    /// Makes the offset of one of the sixteen vectors.
    pub const fn new(source: VectorSource, kind: VectorKind) -> Self {
        let source = match source {
            VectorSource::CurrentElSp0 => 0x000,
            VectorSource::CurrentElSpx => 0x200,
            VectorSource::LowerElAArch64 => 0x400,
            VectorSource::LowerElAArch32 => 0x600,
        };
        let kind = match kind {
            VectorKind::Synchronous => 0x000,
            VectorKind::Irq => 0x080,
            VectorKind::Fiq => 0x100,
            VectorKind::SError => 0x180,
        };
        Self(source + kind)
    }

    /// Returns the offset in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl VectorSource {
    /// Says which quarter of the table KVM enters from this state (Linux 7.3, `get_except64_offset` in
    /// arch/arm64/kvm/hyp/exception.c).
    ///
    /// States that cannot trap to EL1 (EL2, EL3, reserved modes) go where KVM's comparison sends them, with the
    /// lower level in AArch64.
    pub const fn of(interrupted: Pstate) -> Self {
        match interrupted.mode() {
            Mode::El1h => Self::CurrentElSpx,
            Mode::El1t => Self::CurrentElSp0,
            Mode::AArch32(_) => Self::LowerElAArch32,
            Mode::El0t | Mode::El2t | Mode::El2h | Mode::El3t | Mode::El3h | Mode::Reserved(_) => {
                Self::LowerElAArch64
            }
        }
    }
}
