//! All 64 fault status codes.

use seawall_arm64::{AbortCause, Esr, FaultStatusCode, Syndrome};

fn all() -> impl Iterator<Item = FaultStatusCode> {
    (0..64).map(FaultStatusCode::from_bits)
}

/// The bits of all codes for which `claim` holds.
fn codes(claim: impl Fn(FaultStatusCode) -> bool) -> Vec<u8> {
    all()
        .filter(|&code| claim(code))
        .map(FaultStatusCode::bits)
        .collect()
}

#[test]
fn a_code_keeps_its_bits() {
    for bits in 0..=u8::MAX {
        assert_eq!(FaultStatusCode::from_bits(bits).bits(), bits & 0x3f);
    }
}

#[test]
fn kvm_takes_exactly_twelve_codes_for_an_external_abort() {
    let expected = [
        0x10, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f,
    ];
    assert_eq!(codes(FaultStatusCode::is_synchronous_external_abort), expected);
}

#[test]
fn the_four_families_of_memory_errors_are_told_apart() {
    let of = |cause| codes(|code| code.cause() == cause);
    assert_eq!(of(AbortCause::External), [0x10]);
    assert_eq!(
        of(AbortCause::ExternalTableWalk),
        [0x12, 0x13, 0x14, 0x15, 0x16, 0x17]
    );
    assert_eq!(of(AbortCause::ParityEcc), [0x18]);
    assert_eq!(of(AbortCause::ParityEccTableWalk), [0x1b, 0x1c, 0x1d, 0x1e, 0x1f]);
    assert_eq!(of(AbortCause::Other).len(), 64 - 13);
}

#[test]
fn walk_abort_reports_its_level() {
    for (first, lowest) in [(0x12, -2), (0x1b, -1), (0x22, -2)] {
        for (code, level) in (first..).zip(lowest..=3) {
            assert_eq!(
                FaultStatusCode::from_bits(code).walk_level(),
                Some(level),
                "{code:#x}"
            );
        }
    }
    let with_level = codes(|code| code.walk_level().is_some());
    assert_eq!(with_level.len(), 6 + 5 + 6);
    assert_eq!(FaultStatusCode::EXTERNAL_ABORT.walk_level(), None);
    assert_eq!(FaultStatusCode::from_bits(0x18).walk_level(), None);
}

#[test]
fn a_refused_access_has_a_level_but_no_walk_level() {
    for family in [0x00, 0x04, 0x08, 0x0c] {
        for (code, level) in (family..).zip(0..=3) {
            let code = FaultStatusCode::from_bits(code);
            assert_eq!((code.level(), code.walk_level()), (Some(level), None));
        }
    }
    for (code, level) in [(0x29, -1), (0x2a, -2), (0x2b, -1), (0x2c, -2)] {
        let code = FaultStatusCode::from_bits(code);
        assert_eq!((code.level(), code.walk_level()), (Some(level), None));
    }
}

#[test]
fn the_words_name_the_family_and_the_level() {
    for code in all() {
        let words = code.description();
        let family = match code.cause() {
            AbortCause::External => "synchronous external abort, not on translation table walk",
            AbortCause::ExternalTableWalk => "synchronous external abort on translation table walk, ",
            AbortCause::ParityEcc => "synchronous parity or ECC error, not on translation table walk",
            AbortCause::ParityEccTableWalk => "synchronous parity or ECC error on translation table walk, ",
            AbortCause::Other => "",
        };
        assert!(words.starts_with(family), "{code}: {words}");
        let level = code.level().map(|level| format!("level {level}"));
        assert_eq!(words.contains("level"), level.is_some(), "{code}: {words}");
        assert!(words.contains(&level.unwrap_or_default()), "{code}: {words}");
        assert_eq!(
            words.contains("on translation table walk, "),
            code.walk_level().is_some(),
            "{code}: {words}"
        );
    }
}

#[test]
fn reserved_codes_say_so() {
    let reserved = codes(|code| code.description() == "reserved fault status code");
    let unallocated: Vec<u8> = [0x19, 0x1a, 0x20, 0x2d, 0x2e, 0x2f, 0x33]
        .into_iter()
        .chain(0x36..=0x3f)
        .collect();
    assert_eq!(reserved, unallocated);
}

#[test]
fn the_reference_words_decode_to_their_level() {
    let level = |esr| {
        Syndrome::decode(Esr::from_bits(esr))
            .abort()
            .and_then(|abort| abort.walk_level())
    };
    assert_eq!(level(0x9200_0013), Some(-1));
    assert_eq!(level(0x9200_0017), Some(3));
    assert_eq!(level(0x8200_001c), Some(0));
    assert_eq!(level(0x9200_0010), None);
}

#[test]
fn a_code_is_displayed_as_two_hexadecimal_digits() {
    assert_eq!(FaultStatusCode::EXTERNAL_ABORT.to_string(), "0x10");
    assert_eq!(FaultStatusCode::from_bits(4).to_string(), "0x04");
}
