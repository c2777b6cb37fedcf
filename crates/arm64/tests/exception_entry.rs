//! The exception entry KVM performs: five vectors worked out by hand, and the rules that hold for every state.

use proptest::prelude::{Strategy, any, proptest};
use seawall_arm64::{
    AbortKind, EntryState, Esr, Exception, ExceptionClass, ExceptionEntry, FarUpdate, Gva, Mode, Pstate,
    SError, SynthesizedAbort, VectorKind, VectorOffset, VectorSource, take_exception,
};

const FAR: Gva = Gva::from_bits(0xff00_aaaa_df25_4828);

fn state(pstate: u64, sctlr_el1: u64, sctlr2_el1: Option<u64>) -> EntryState {
    EntryState {
        pc: Gva::from_bits(0x1234),
        pstate: Pstate::from_bits(pstate),
        vbar_el1: Gva::from_bits(0x8000_0800),
        sctlr_el1,
        sctlr2_el1,
        mte: false,
    }
}

fn abort(state: &EntryState, kind: AbortKind) -> ExceptionEntry {
    take_exception(state, Exception::ExternalAbort { kind, far: FAR })
}

/// Asserts what both kinds of abort do to `state`; `esr` is that of an instruction abort and of a data abort.
fn assert_entry(state: EntryState, pc: u64, pstate: u64, esr: (u64, u64)) {
    for (kind, esr) in [(AbortKind::Instruction, esr.0), (AbortKind::Data, esr.1)] {
        let entry = abort(&state, kind);
        assert_eq!(entry.pc, Gva::from_bits(pc));
        assert_eq!(entry.pstate, Pstate::from_bits(pstate));
        assert_eq!(entry.elr_el1, Gva::from_bits(0x1234));
        assert_eq!(entry.spsr_el1, state.pstate);
        assert_eq!(entry.esr_el1, Esr::from_bits(esr));
        assert_eq!(entry.far_el1, Some(FAR));
    }
}

const SAME_EL: (u64, u64) = (0x8600_0010, 0x9600_0010);
const LOWER_EL: (u64, u64) = (0x8200_0010, 0x9200_0010);

#[test]
fn an_abort_in_the_kernel_enters_the_current_level() {
    assert_entry(state(0x3c5, 0x00c5_0078, None), 0x8000_0a00, 0x3c5, SAME_EL);
}

#[test]
fn an_abort_in_an_application_enters_the_lower_level_and_keeps_the_flags() {
    assert_entry(
        state(0x6000_0000, 0x00c5_0078, None),
        0x8000_0c00,
        0x6000_03c5,
        LOWER_EL,
    );
}

#[test]
fn without_span_an_abort_sets_pan() {
    assert_entry(state(0x004, 0, None), 0x8000_0800, 0x0040_03c5, SAME_EL);
}

#[test]
fn an_abort_in_an_aarch32_application_enters_its_own_vector_and_dssbs_sets_ssbs() {
    assert_entry(
        state(0x10, 1 << 44 | 1 << 23, None),
        0x8000_0e00,
        0x13c5,
        LOWER_EL,
    );
}

#[test]
fn a_full_pstate_loses_all_but_six_bits() {
    assert_entry(
        state(0xf3f0_0c05, 1 << 23, None),
        0x8000_0a00,
        0xf140_03c5,
        SAME_EL,
    );
}

#[test]
fn ease_moves_an_external_abort_to_the_serror_vector_and_nothing_else() {
    let ease = state(0xf3f0_0c05, 1 << 23, Some(1 << 5));
    assert_entry(ease, 0x8000_0b80, 0xf140_03c5, SAME_EL);
    let without = state(0xf3f0_0c05, 1 << 23, Some(!(1 << 5)));
    assert_entry(without, 0x8000_0a00, 0xf140_03c5, SAME_EL);
}

#[test]
fn ease_does_not_move_other_synchronous_exceptions() {
    let ease = state(0x3c5, 0, Some(1 << 5));
    let esr = Esr::new(ExceptionClass::Unknown, 0);
    let entry = take_exception(&ease, Exception::Synchronous { esr, far: None });
    assert_eq!(entry.pc, Gva::from_bits(0x8000_0a00));
    assert_eq!((entry.esr_el1, entry.far_el1), (esr, None));
}

#[test]
fn an_serror_enters_its_own_vector_and_leaves_far_alone() {
    for (pstate, pc) in [
        (0x005, 0x8000_0b80),
        (0x000, 0x8000_0d80),
        (0x010, 0x8000_0f80),
        (0x004, 0x8000_0980),
    ] {
        let entry = take_exception(
            &state(pstate, 1 << 23, None),
            Exception::SError(SError::decode(0x0101_d1ed)),
        );
        assert_eq!(entry.pc, Gva::from_bits(pc));
        assert_eq!(entry.esr_el1, Esr::from_bits(0xbf01_d1ed));
        assert_eq!(entry.far_el1, None);
    }
}

#[test]
fn with_mte_tag_checks_are_off_in_the_handler() {
    let mte = EntryState {
        mte: true,
        ..state(0x3c5, 1 << 23, None)
    };
    assert_eq!(
        abort(&mte, AbortKind::Data).pstate,
        Pstate::from_bits(0x0200_03c5)
    );
}

#[test]
fn a_restored_syndrome_replaces_the_bare_one() {
    let bare = abort(&state(0x3c5, 1 << 23, None), AbortKind::Data);
    let esr = Esr::from_bits(0x9600_0610);
    let kept = bare.with_abort(SynthesizedAbort {
        esr,
        far: FarUpdate::Keep,
    });
    assert_eq!(kept, ExceptionEntry { esr_el1: esr, ..bare });
    let zeroed = bare.with_abort(SynthesizedAbort {
        esr,
        far: FarUpdate::Zero,
    });
    assert_eq!(
        zeroed,
        ExceptionEntry {
            esr_el1: esr,
            far_el1: Some(Gva::from_bits(0)),
            ..bare
        }
    );
}

#[test]
fn the_sixteen_vectors_are_0x80_bytes_apart() {
    let sources = [
        VectorSource::CurrentElSp0,
        VectorSource::CurrentElSpx,
        VectorSource::LowerElAArch64,
        VectorSource::LowerElAArch32,
    ];
    let kinds = [
        VectorKind::Synchronous,
        VectorKind::Irq,
        VectorKind::Fiq,
        VectorKind::SError,
    ];
    let offsets = sources
        .iter()
        .flat_map(|&source| kinds.map(|kind| VectorOffset::new(source, kind).bytes()));
    assert!(offsets.eq((0..16).map(|vector| vector * 0x80)));
}

/// The kernel's algorithm for an external abort written down a second time, in its own shape: bit tests on plain
/// numbers, in the order of `enter_exception64` and `inject_abt64`.
fn kernel(state: &EntryState, is_iabt: bool) -> (u64, u64, u64, u64, u64) {
    let (old, vbar) = (state.pstate.bits(), state.vbar_el1.bits());
    let base = match old & 0x1f {
        0x05 => 0x200,
        0x04 => 0x000,
        m if m & 0x10 == 0 => 0x400,
        _ => 0x600,
    };
    let offset = if state.sctlr2_el1.unwrap_or(0) & 0x20 != 0 {
        0x180
    } else {
        0x000
    };
    let mut new = old & 0xf000_0000;
    new |= old & 0x0100_0000;
    new |= old & 0x0040_0000;
    if state.mte {
        new |= 0x0200_0000;
    }
    if state.sctlr_el1 & 0x0080_0000 == 0 {
        new |= 0x0040_0000;
    }
    if state.sctlr_el1 & 0x1000_0000_0000 != 0 {
        new |= 0x1000;
    }
    new |= 0x3c0 | 0x005;
    let lower = old & 0x10 != 0 || old & 0xf == 0;
    let esr = match (is_iabt, lower) {
        (true, true) => 0x8200_0010,
        (true, false) => 0x8600_0010,
        (false, true) => 0x9200_0010,
        (false, false) => 0x9600_0010,
    };
    (vbar.wrapping_add(base + offset), new, state.pc.bits(), old, esr)
}

fn states() -> impl Strategy<Value = EntryState> {
    // One mode in two is one that a guest can be in; the bits above it are any.
    let modes = proptest::prop_oneof![proptest::sample::select(vec![0_u64, 4, 5, 0x10]), 0..32_u64];
    let pstates = (any::<u64>(), modes).prop_map(|(bits, mode)| Pstate::from_bits(bits & !0x1f | mode));
    (
        any::<u64>(),
        pstates,
        any::<u64>(),
        any::<u64>(),
        any::<Option<u64>>(),
        any::<bool>(),
    )
        .prop_map(|(pc, pstate, vbar_el1, sctlr_el1, sctlr2_el1, mte)| EntryState {
            pc: Gva::from_bits(pc),
            pstate,
            vbar_el1: Gva::from_bits(vbar_el1),
            sctlr_el1,
            sctlr2_el1,
            mte,
        })
}

fn exceptions() -> impl Strategy<Value = Exception> {
    let gva = any::<u64>().prop_map(Gva::from_bits);
    let kind = proptest::sample::select(vec![AbortKind::Data, AbortKind::Instruction]);
    let abort = (kind, gva.clone()).prop_map(|(kind, far)| Exception::ExternalAbort { kind, far });
    let serror = any::<u32>().prop_map(|iss| Exception::SError(SError::decode(iss)));
    let other = (any::<u64>(), proptest::option::of(gva)).prop_map(|(esr, far)| Exception::Synchronous {
        esr: Esr::from_bits(esr),
        far,
    });
    proptest::prop_oneof![abort, serror, other]
}

proptest! {
    #[test]
    fn external_aborts_enter_as_the_kernel_has_it(state in states(), is_iabt in any::<bool>()) {
        let kind = if is_iabt { AbortKind::Instruction } else { AbortKind::Data };
        let entry = abort(&state, kind);
        let registers = (
            entry.pc.bits(),
            entry.pstate.bits(),
            entry.elr_el1.bits(),
            entry.spsr_el1.bits(),
            entry.esr_el1.bits(),
        );
        assert_eq!(registers, kernel(&state, is_iabt));
        assert_eq!(entry.far_el1, Some(FAR));
    }

    #[test]
    fn taking_an_exception_masks_everything_at_el1h(state in states(), exception in exceptions()) {
        let entry = take_exception(&state, exception);
        assert_eq!(entry.pstate.mode(), Mode::El1h);
        let masked = |pstate: Pstate| {
            [pstate.debug_masked(), pstate.serror_masked(), pstate.irq_masked(), pstate.fiq_masked()]
        };
        assert_eq!(masked(entry.pstate), [true; 4]);
        assert_eq!(entry.pstate.bits() >> 32, 0, "nothing above bit 31 survives");
        assert!(state.pstate.bits() & (1 << 22) == 0 || entry.pstate.bits() & (1 << 22) != 0, "PAN is never lowered");
    }

    #[test]
    fn taking_an_exception_saves_the_interrupted_state_whole(state in states(), exception in exceptions()) {
        let entry = take_exception(&state, exception);
        assert_eq!((entry.elr_el1, entry.spsr_el1), (state.pc, state.pstate));
    }

    #[test]
    fn taking_an_exception_lands_on_a_vector_of_the_table(state in states(), exception in exceptions()) {
        let entry = take_exception(&state, exception);
        assert_eq!(entry.pc.bits().wrapping_sub(state.vbar_el1.bits()), entry.vector.bytes());
        assert!(entry.vector.bytes() < 0x800 && entry.vector.bytes().is_multiple_of(0x80));
    }
}
