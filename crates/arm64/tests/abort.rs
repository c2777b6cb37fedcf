//! The view that instruction and data aborts share: what a policy is told.

use seawall_arm64::{Abort, AbortKind, Esr, Syndrome};

/// The abort of a word whose class is known to be one.
fn abort_of(esr: u64) -> Abort {
    match Syndrome::decode(Esr::from_bits(esr)).abort() {
        Some(abort) => abort,
        None => unreachable!("{esr:#x} is an abort"),
    }
}

#[test]
fn fnv_set_means_no_gva() {
    for word in [0x9200_0410, 0x9600_0610, 0x8200_0410, 0x9200_0415] {
        assert!(!abort_of(word).far_valid);
        assert!(abort_of(word & !0x400).far_valid);
    }
}

#[test]
fn an_abort_says_which_kind_it_is_and_whence_it_came() {
    for (word, kind, lower_el) in [
        (0x8200_0010, AbortKind::Instruction, true),
        (0x8600_0010, AbortKind::Instruction, false),
        (0x9200_0010, AbortKind::Data, true),
        (0x9600_0010, AbortKind::Data, false),
    ] {
        assert_eq!((abort_of(word).kind, abort_of(word).lower_el), (kind, lower_el));
        assert_eq!(
            kind.exception_class(lower_el),
            Esr::from_bits(word).exception_class()
        );
    }
    assert_eq!(Syndrome::decode(Esr::from_bits(0xbe00_0011)).abort(), None);
    assert_eq!(Syndrome::decode(Esr::from_bits(0x5600_0010)).abort(), None);
}

#[test]
fn an_instruction_abort_neither_writes_nor_maintains_a_cache() {
    let all_set = abort_of(0x83ff_ffff);
    assert_eq!((all_set.write, all_set.cache_maintenance), (None, false));
    assert_eq!((all_set.external_type, all_set.s1ptw), (true, true));
}

#[test]
fn the_flags_of_a_data_abort_reach_the_common_view() {
    let clear = abort_of(0x9200_0010);
    assert_eq!((clear.write, clear.cache_maintenance), (Some(false), false));
    assert_eq!((clear.external_type, clear.s1ptw), (false, false));
    assert_eq!(abort_of(0x9200_0050).write, Some(true));
    assert!(abort_of(0x9200_0110).cache_maintenance);
    assert!(abort_of(0x9200_0210).external_type);
    assert!(abort_of(0x9200_0090).s1ptw);
}
