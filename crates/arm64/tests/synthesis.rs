//! The syndrome a guest reads after an injection: what KVM drops, restored.

use proptest::prelude::{any, proptest};
use seawall_arm64::{
    AbortKind, DataAbort, Esr, FarUpdate, FaultStatusCode, InstructionAbort, Pstate, SynchronousErrorType,
    Syndrome, SynthesizedAbort, kernel_injected_esr, synthesize_sea,
};

const EL0T: Pstate = Pstate::from_bits(0x6000_0000);
const EL1T: Pstate = Pstate::from_bits(0x0000_03c4);
const EL1H: Pstate = Pstate::from_bits(0x8040_03c5);
const AARCH32_USER: Pstate = Pstate::from_bits(0x0000_0030);

fn synthesized(exit_esr: u64, interrupted: Pstate) -> (u64, FarUpdate) {
    let SynthesizedAbort { esr, far } = synthesize_sea(Esr::from_bits(exit_esr), interrupted);
    (esr.bits(), far)
}

/// Reported from real hardware on the kernel's mailing list, 2025-12-11, in the review of the selftest
/// sea_to_user: `arm_sea: esr=0x92000610 flags=0 gva=0 gpa=0`. The guest's kernel then read `ESR_EL1 0x96000010`
/// beside a stale FAR_EL1.
#[test]
fn injected_abort_keeps_fnv_and_set() {
    assert_eq!(synthesized(0x9200_0610, EL0T), (0x9200_0610, FarUpdate::Zero));
    assert_eq!(synthesized(0x9200_0610, EL1H), (0x9600_0610, FarUpdate::Zero));
    assert_eq!(kernel_injected_esr(AbortKind::Data, EL1H).bits(), 0x9600_0010);
}

#[test]
fn the_consumer_decides_the_exception_level_of_the_class() {
    for (interrupted, data, fetch) in [
        (EL0T, 0x9200_0010, 0x8200_0010),
        (AARCH32_USER, 0x9200_0010, 0x8200_0010),
        (EL1T, 0x9600_0010, 0x8600_0010),
        (EL1H, 0x9600_0010, 0x8600_0010),
    ] {
        assert_eq!(synthesized(0x9200_0010, interrupted), (data, FarUpdate::Keep));
        assert_eq!(synthesized(0x8200_0010, interrupted), (fetch, FarUpdate::Keep));
        assert_eq!(kernel_injected_esr(AbortKind::Data, interrupted).bits(), data);
        assert_eq!(
            kernel_injected_esr(AbortKind::Instruction, interrupted).bits(),
            fetch
        );
    }
}

#[test]
fn an_instruction_abort_keeps_its_kind_and_severity() {
    assert_eq!(synthesized(0x8200_0610, EL0T), (0x8200_0610, FarUpdate::Zero));
    assert_eq!(synthesized(0x8200_1c10, EL1H), (0x8600_1c10, FarUpdate::Zero));
    assert_eq!(synthesized(0x8200_0014, EL0T), (0x8200_0014, FarUpdate::Keep));
}

#[test]
fn a_lost_page_table_keeps_its_level() {
    for status in (0x13..=0x17).chain(0x1b..=0x1f) {
        assert_eq!(synthesized(0x9200_0000 | status, EL0T).0, 0x9200_0000 | status);
        assert_eq!(synthesized(0x8200_0000 | status, EL1H).0, 0x8600_0000 | status);
    }
}

#[test]
fn a_write_and_a_cache_maintenance_instruction_stay_what_they_were() {
    assert_eq!(synthesized(0x9200_0050, EL0T), (0x9200_0050, FarUpdate::Keep));
    assert_eq!(synthesized(0x9200_0150, EL1H), (0x9600_0150, FarUpdate::Keep));
}

#[test]
fn an_instruction_abort_has_no_bits_of_a_data_abort() {
    assert_eq!(synthesized(0x8200_0150, EL0T), (0x8200_0010, FarUpdate::Keep));
}

#[test]
fn an_abort_on_a_vncr_page_is_a_data_abort_of_the_interrupted_level() {
    assert_eq!(synthesized(0x9600_0010, EL0T), (0x9200_0010, FarUpdate::Keep));
    assert_eq!(synthesized(0x9600_0410, EL1H), (0x9600_0410, FarUpdate::Zero));
}

#[test]
fn an_abort_can_be_built_field_by_field() {
    let data = DataAbort::default()
        .with_fault_status(FaultStatusCode::EXTERNAL_ABORT)
        .with_set(SynchronousErrorType::Restartable)
        .with_write(true);
    assert_eq!(data.esr(EL1H).bits(), 0x9600_1850);
    let fetch = InstructionAbort::default()
        .with_fault_status(FaultStatusCode::from_bits(0x17))
        .with_far_valid(false);
    assert_eq!(fetch.esr(EL0T).bits(), 0x8200_0417);
}

/// What KVM_EXIT_ARM_SEA can report: a sanitised syndrome of a VM with FEAT_RAS.
const SANITISED: u64 = 0xfe00_1f7f;

proptest! {
    #[test]
    fn every_reported_fact_of_a_data_abort_reaches_the_guest(bits in any::<u64>(), pstate in any::<u64>()) {
        let exit = Esr::from_bits(bits & SANITISED & 0x03ff_ffff | 0x24 << 26);
        let interrupted = Pstate::from_bits(pstate);
        let guest = synthesize_sea(exit, interrupted).esr;
        assert_eq!(guest.iss(), exit.iss());
        assert!(guest.il());
        let (told, read) = (Syndrome::decode(exit).abort(), Syndrome::decode(guest).abort());
        let told = told.map(|abort| seawall_arm64::Abort { lower_el: interrupted.is_below_el1(), ..abort });
        assert_eq!(read, told);
    }

    #[test]
    fn far_is_kept_exactly_when_it_is_valid(bits in any::<u64>(), pstate in any::<u64>()) {
        let abort = synthesize_sea(Esr::from_bits(bits), Pstate::from_bits(pstate));
        let far_valid = Syndrome::decode(abort.esr).abort().map(|abort| abort.far_valid);
        assert_eq!(far_valid, Some(abort.far == FarUpdate::Keep));
    }

    #[test]
    fn nothing_a_guest_may_not_see_reaches_it(bits in any::<u64>(), pstate in any::<u64>()) {
        let esr = synthesize_sea(Esr::from_bits(bits), Pstate::from_bits(pstate)).esr;
        assert_eq!(esr.bits() & !SANITISED, 0);
        assert!(matches!(esr.exception_class().bits(), 0x20 | 0x21 | 0x24 | 0x25));
    }

    #[test]
    fn the_bare_word_is_the_synthesized_one_of_a_bare_exit(pstate in any::<u64>()) {
        let interrupted = Pstate::from_bits(pstate);
        for (kind, exit) in [(AbortKind::Data, 0x9200_0010), (AbortKind::Instruction, 0x8200_0010)] {
            let abort = synthesize_sea(Esr::from_bits(exit), interrupted);
            assert_eq!(abort.esr, kernel_injected_esr(kind, interrupted));
        }
    }
}
