//! The exception entry KVM performs for an injected exception, as arithmetic on register values.

use crate::bits::{bit, with_bit};
use crate::{
    AbortKind, Esr, FarUpdate, Gva, Pstate, SError, SynthesizedAbort, VectorKind, VectorOffset, VectorSource,
    kernel_injected_esr,
};

/// The registers of a stopped vCPU on which exception entry depends: an AArch64 EL1 guest without nested
/// virtualisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryState {
    /// The address of the interrupted instruction.
    pub pc: Gva,
    /// The interrupted process state.
    pub pstate: Pstate,
    /// The guest's vector table. KVM adds the offset to all 64 bits, without masking the low eleven.
    pub vbar_el1: Gva,
    /// SCTLR_EL1: SPAN (bit 23) and DSSBS (bit 44) matter.
    pub sctlr_el1: u64,
    /// SCTLR2_EL1: EASE (bit 5) matters. None where the VM has no such register (ID_AA64MMFR3_EL1.SCTLRX is 0).
    pub sctlr2_el1: Option<u64>,
    /// Whether KVM_CAP_ARM_MTE was enabled for the VM.
    pub mte: bool,
}

/// An exception to take to EL1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exception {
    /// A synchronous External abort with the bare syndrome KVM gives it.
    ExternalAbort {
        /// Instruction fetch or data access.
        kind: AbortKind,
        /// The value for FAR_EL1, tag bits included.
        far: Gva,
    },
    /// An SError that is taken at once; FAR_EL1 stays.
    SError(SError),
    /// Any other synchronous exception.
    Synchronous {
        /// The value for ESR_EL1.
        esr: Esr,
        /// The value for FAR_EL1; none leaves it alone.
        far: Option<Gva>,
    },
}

/// The registers after exception entry. PC, PSTATE, ELR_EL1, SPSR_EL1 and ESR_EL1 change; nothing else but
/// FAR_EL1 does.
///
/// Where these are written with KVM_SET_ONE_REG one by one, PSTATE goes first: while the stored PSTATE is an
/// AArch32 one, KVM cuts PC and X0 to X14 down to 32 bits on every write of a core register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExceptionEntry {
    /// The address of the vector.
    pub pc: Gva,
    /// EL1h with D, A, I and F masked.
    pub pstate: Pstate,
    /// The address of the interrupted instruction.
    pub elr_el1: Gva,
    /// The interrupted process state, all 64 bits.
    pub spsr_el1: Pstate,
    /// The syndrome.
    pub esr_el1: Esr,
    /// The fault address; none leaves the register alone.
    pub far_el1: Option<Gva>,
    /// Which vector `pc` is.
    pub vector: VectorOffset,
}

/// N, Z, C, V, DIT and PAN: the bits of the interrupted state that survive.
const KEPT: u64 = 0xf140_0000;
const TCO: u8 = 25;
const PAN: u8 = 22;
const SSBS: u8 = 12;
/// D, A, I and F set, mode EL1h.
const MASKED_EL1H: u64 = 0x3c5;
const SCTLR_SPAN: u8 = 23;
const SCTLR_DSSBS: u8 = 44;
const SCTLR2_EASE: u8 = 5;

/// Computes the registers of a vCPU that takes `exception` to EL1, exactly as KVM does it.
///
/// This is `enter_exception64` of arch/arm64/kvm/hyp/exception.c with `inject_abt64` of
/// arch/arm64/kvm/inject_fault.c, Linux 7.3. An External abort is always taken, whatever is masked.
///
/// ```
/// use seawall_arm64::{AbortKind, EntryState, Exception, Gva, Pstate, take_exception};
///
/// let state = EntryState {
///     pc: Gva::from_bits(0x1234),
///     pstate: Pstate::from_bits(0x6000_0000), // EL0t, an application
///     vbar_el1: Gva::from_bits(0x8000_0800),
///     sctlr_el1: 0x00c5_0078,
///     sctlr2_el1: None,
///     mte: false,
/// };
/// let far = Gva::from_bits(0xaaaa_df25_4828);
/// let entry = take_exception(&state, Exception::ExternalAbort { kind: AbortKind::Data, far });
///
/// assert_eq!(entry.pc, Gva::from_bits(0x8000_0c00));
/// assert_eq!(entry.pstate, Pstate::from_bits(0x6000_03c5));
/// assert_eq!(entry.esr_el1.bits(), 0x9200_0010);
/// assert_eq!(entry.far_el1, Some(far));
/// ```
pub const fn take_exception(state: &EntryState, exception: Exception) -> ExceptionEntry {
    let ease = matches!(state.sctlr2_el1, Some(sctlr2) if bit(sctlr2, SCTLR2_EASE));
    let (vector_kind, esr_el1, far_el1) = match exception {
        Exception::ExternalAbort { kind, far } => (
            // EASE moves the vector and nothing else: the syndrome stays that of an abort.
            if ease {
                VectorKind::SError
            } else {
                VectorKind::Synchronous
            },
            kernel_injected_esr(kind, state.pstate),
            Some(far),
        ),
        Exception::SError(serror) => (VectorKind::SError, serror.esr(), None),
        Exception::Synchronous { esr, far } => (VectorKind::Synchronous, esr, far),
    };
    let vector = VectorOffset::new(VectorSource::of(state.pstate), vector_kind);
    ExceptionEntry {
        // A VBAR near the top of the address space wraps, as the addition in KVM does.
        pc: Gva::from_bits(state.vbar_el1.bits().wrapping_add(vector.bytes())),
        pstate: entry_pstate(state),
        elr_el1: state.pc,
        spsr_el1: state.pstate,
        esr_el1,
        far_el1,
        vector,
    }
}

const fn entry_pstate(state: &EntryState) -> Pstate {
    let mut word = (state.pstate.bits() & KEPT) | MASKED_EL1H;
    word = with_bit(word, TCO, state.mte);
    if !bit(state.sctlr_el1, SCTLR_SPAN) {
        word = with_bit(word, PAN, true);
    }
    word = with_bit(word, SSBS, bit(state.sctlr_el1, SCTLR_DSSBS));
    Pstate::from_bits(word)
}

impl ExceptionEntry {
    /// Replaces the bare syndrome by a restored one, and FAR_EL1 where that one says so.
    #[must_use]
    pub const fn with_abort(self, abort: SynthesizedAbort) -> Self {
        let far_el1 = match abort.far {
            FarUpdate::Keep => self.far_el1,
            FarUpdate::Zero => Some(Gva::from_bits(0)),
            FarUpdate::Write(far) => Some(far),
        };
        Self {
            esr_el1: abort.esr,
            far_el1,
            ..self
        }
    }
}
