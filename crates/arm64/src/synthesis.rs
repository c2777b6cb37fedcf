//! The syndrome a guest is to read after an abort was injected into it.
//!
//! KVM reports an abort with most of its syndrome and injects one with hardly any: of the reported fields only
//! the exception class and, for a stage 2 fault on a table walk, the level survive `inject_abt64`. The guest
//! then trusts a FAR_EL1 that is garbage, and cannot tell a lost page table from a lost page. So the VMM writes
//! ESR_EL1 and FAR_EL1 after the injection, with the values made here.

use crate::{AbortKind, DataAbort, Esr, ExceptionClass, FaultStatusCode, Gva, InstructionAbort, Pstate};

/// What ESR_EL1 and FAR_EL1 must hold once KVM has injected an abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SynthesizedAbort {
    /// The value for ESR_EL1.
    pub esr: Esr,
    /// What to do with FAR_EL1.
    pub far: FarUpdate,
}

/// What to do with FAR_EL1 after KVM has injected an abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FarUpdate {
    /// KVM wrote the right address.
    Keep,
    /// The address is not valid: write 0 over what KVM left there, which may be another process's address.
    Zero,
    /// Write this address: somebody injects by hand and says where.
    Write(Gva),
}

/// FnV, SET, EA and the fault status: the fields of an instruction abort that the guest gets back.
const INSTRUCTION_FIELDS: u32 = 0x1e3f;
/// The same, CM and WnR: the fields of a data abort that the guest gets back.
const DATA_FIELDS: u32 = 0x1f7f;

/// Builds the syndrome the guest is to read for an abort that KVM_EXIT_ARM_SEA reported.
///
/// `exit_esr` is `kvm_run.arm_sea.esr`, `interrupted` the PSTATE of the vCPU before the injection. The exit's
/// exception class says instruction or data, but always "from a lower Exception level": it was an exception to
/// EL2. Which level consumed the error is in `interrupted`.
///
/// FnV, SET, EA, CM, WnR and the fault status, with the level of a table walk, are what the exit said. IL is 1.
/// S1PTW is left out because a guest has no stage 2, and the instruction syndrome because KVM withholds it. An
/// exit whose class is no abort at all becomes a data abort, which is what KVM injects.
///
/// ```
/// use seawall_arm64::{Esr, FarUpdate, Pstate, synthesize_sea};
///
/// // An External abort without an address, consumed by the guest's kernel (EL1h).
/// let abort = synthesize_sea(Esr::from_bits(0x9200_0610), Pstate::from_bits(0x3c5));
/// assert_eq!(abort.esr, Esr::from_bits(0x9600_0610));
/// assert_eq!(abort.far, FarUpdate::Zero);
/// ```
#[inline]
pub const fn synthesize_sea(exit_esr: Esr, interrupted: Pstate) -> SynthesizedAbort {
    let (esr, far_valid) = match exit_esr.exception_class() {
        ExceptionClass::InstructionAbortLowerEl | ExceptionClass::InstructionAbortSameEl => {
            let abort = InstructionAbort::decode(exit_esr.iss() & INSTRUCTION_FIELDS);
            (abort.esr(interrupted), abort.far_valid())
        }
        _ => {
            let abort = DataAbort::decode(exit_esr.iss() & DATA_FIELDS);
            (abort.esr(interrupted), abort.far_valid())
        }
    };
    SynthesizedAbort {
        esr,
        far: if far_valid {
            FarUpdate::Keep
        } else {
            FarUpdate::Zero
        },
    }
}

/// Returns the ESR_EL1 KVM itself writes for an injected External abort: class, IL and fault status 0b010000,
/// everything else 0 (Linux 7.3, `inject_abt64` in arch/arm64/kvm/inject_fault.c).
///
/// KVM injects only [`AbortKind::Data`] on request; [`AbortKind::Instruction`] is what it does for a fetch from
/// where no memory is. The fault status differs where KVM believes that a stage 1 table walk aborted.
pub const fn kernel_injected_esr(kind: AbortKind, interrupted: Pstate) -> Esr {
    let class = kind.exception_class(interrupted.is_below_el1());
    Esr::new(class, FaultStatusCode::EXTERNAL_ABORT.bits() as u32)
}

impl DataAbort {
    /// Returns the ESR_EL1 of this abort taken to EL1 from the interrupted state.
    pub const fn esr(self, interrupted: Pstate) -> Esr {
        Esr::new(
            AbortKind::Data.exception_class(interrupted.is_below_el1()),
            self.encode(),
        )
    }
}

impl InstructionAbort {
    /// Returns the ESR_EL1 of this abort taken to EL1 from the interrupted state.
    pub const fn esr(self, interrupted: Pstate) -> Esr {
        Esr::new(
            AbortKind::Instruction.exception_class(interrupted.is_below_el1()),
            self.encode(),
        )
    }
}
