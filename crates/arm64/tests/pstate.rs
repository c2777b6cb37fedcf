//! Who was interrupted: all 32 modes, and what of them exception entry makes.

use proptest::prelude::{any, proptest};
use seawall_arm64::{AArch32Mode, ExceptionLevel, Mode, Pstate};

#[test]
fn every_mode_keeps_its_bits() {
    for bits in 0..=u8::MAX {
        assert_eq!(Mode::from_bits(bits).bits(), bits & 0x1f);
        assert_eq!(AArch32Mode::from_bits(bits).bits(), bits & 0xf);
    }
}

#[test]
fn only_two_modes_are_applications() {
    let users: Vec<u64> = (0..32)
        .filter(|&mode| Pstate::from_bits(mode).is_user())
        .collect();
    assert_eq!(users, [0x00, 0x10]);
    assert_eq!(Pstate::from_bits(0x00).mode(), Mode::El0t);
    assert_eq!(Pstate::from_bits(0x10).mode(), Mode::AArch32(AArch32Mode::User));
}

#[test]
fn the_modes_of_the_guest_kernel_are_its_two_stacks() {
    assert_eq!(Pstate::from_bits(0x3c4).mode(), Mode::El1t);
    assert_eq!(Pstate::from_bits(0x3c5).mode(), Mode::El1h);
    for mode in [Mode::El1t, Mode::El1h] {
        assert_eq!(mode.exception_level(), Some(ExceptionLevel::El1));
    }
}

#[test]
fn every_mode_has_its_exception_level() {
    let level = |bits| Mode::from_bits(bits).exception_level();
    assert_eq!([0x00, 0x10].map(level), [Some(ExceptionLevel::El0); 2]);
    assert_eq!(
        [0x04, 0x05, 0x11, 0x12, 0x13, 0x17, 0x1b, 0x1f].map(level),
        [Some(ExceptionLevel::El1); 8]
    );
    assert_eq!([0x08, 0x09, 0x1a].map(level), [Some(ExceptionLevel::El2); 3]);
    assert_eq!([0x0c, 0x0d, 0x16].map(level), [Some(ExceptionLevel::El3); 3]);
    assert_eq!((0..32).filter(|&bits| level(bits).is_none()).count(), 32 - 16);
}

#[test]
fn reserved_modes_are_values() {
    assert_eq!(Mode::from_bits(0x01), Mode::Reserved(0x01));
    assert_eq!(Mode::from_bits(0x18), Mode::AArch32(AArch32Mode::Reserved(0x8)));
    assert_eq!(Mode::Reserved(0x01).name(), "reserved mode");
}

#[test]
fn a_state_below_el1_is_el0t_or_aarch32() {
    let below: Vec<u64> = (0..32)
        .filter(|&mode| Pstate::from_bits(mode).is_below_el1())
        .collect();
    let expected: Vec<u64> = std::iter::once(0).chain(0x10..0x20).collect();
    assert_eq!(below, expected);
}

proptest! {
    #[test]
    fn the_flags_are_single_bits(bits in any::<u64>()) {
        let pstate = Pstate::from_bits(bits);
        assert_eq!(pstate.bits(), bits);
        assert_eq!(pstate.debug_masked(), bits & 0x200 != 0);
        assert_eq!(pstate.serror_masked(), bits & 0x100 != 0);
        assert_eq!(pstate.irq_masked(), bits & 0x80 != 0);
        assert_eq!(pstate.fiq_masked(), bits & 0x40 != 0);
        assert_eq!(pstate.is_aarch32(), bits & 0x10 != 0);
        assert_eq!(u64::from(pstate.mode().bits()), bits & 0x1f);
    }
}

#[test]
fn a_state_is_displayed_with_capital_letters_for_set_flags() {
    let display = |bits| Pstate::from_bits(bits).to_string();
    assert_eq!(display(0x6000_03c5), "0x00000000600003c5 (nZCv DAIF EL1h)");
    assert_eq!(display(0x9000_0000), "0x0000000090000000 (NzcV daif EL0t)");
    assert_eq!(display(0x0000_0150), "0x0000000000000150 (nzcv dAiF AArch32 usr)");
    assert_eq!(
        display(0x0000_0281),
        "0x0000000000000281 (nzcv DaIf reserved mode)"
    );
}
