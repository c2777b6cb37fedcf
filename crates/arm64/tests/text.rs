//! What a person reads: the fields of a syndrome and its text.

use std::{env, fs};

use proptest::prelude::{any, proptest};
use seawall_arm64::{Esr, Gpa, Gva, Syndrome};

fn text(esr: u64) -> String {
    Syndrome::decode(Esr::from_bits(esr)).to_string()
}

/// Every file of tests/text holds the text of the value in its name. `UPDATE_TEXT=1` rewrites them.
#[test]
fn the_text_of_a_syndrome_is_as_recorded() {
    let mut files = 0;
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/text")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let esr = u64::from_str_radix(name.trim_start_matches("0x"), 16).unwrap();
        let text = text(esr) + "\n";
        if env::var_os("UPDATE_TEXT").is_some() {
            fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, fs::read_to_string(&path).unwrap(), "{name}");
        files += 1;
    }
    assert_eq!(files, 6);
}

#[test]
fn the_first_line_says_what_happened_in_one_sentence() {
    for (esr, sentence) in [
        (
            0x9600_1050,
            "0x0000000096001050: Data Abort taken without a change in Exception level: synchronous external \
             abort, not on translation table walk; severity uncontainable (UC), write, FAR valid",
        ),
        (
            0x9200_0150,
            "0x0000000092000150: Data Abort from a lower Exception level: synchronous external abort, not on \
             translation table walk; severity recoverable (UER), cache maintenance or address translation, FAR valid",
        ),
        (
            0x8200_041b,
            "0x000000008200041b: Instruction Abort from a lower Exception level: synchronous parity or ECC \
             error on translation table walk, level -1; FAR not valid",
        ),
        (
            0xbe00_0000,
            "0x00000000be000000: SError exception: uncategorized error",
        ),
        (
            0xbe00_0811,
            "0x00000000be000811: SError exception: asynchronous SError; severity restartable (UEO)",
        ),
        (
            0xbe00_003f,
            "0x00000000be00003f: SError exception: reserved fault status code",
        ),
        (0x0200_0000, "0x0000000002000000: Unknown reason"),
        (0xfe00_0000, "0x00000000fe000000: Reserved exception class"),
    ] {
        assert_eq!(text(esr).lines().next(), Some(sentence));
    }
}

proptest! {
    #[test]
    fn the_fields_cover_the_register_without_gap_or_overlap(bits in any::<u64>()) {
        let mut next = 64;
        let mut assembled = 0;
        for field in Syndrome::decode(Esr::from_bits(bits)).fields() {
            let (hi, lo) = field.bits;
            assert_eq!(hi + 1, next, "{field}");
            assert!(lo <= hi);
            assert_eq!(field.width(), hi - lo + 1);
            assembled |= field.value << lo;
            next = lo;
        }
        assert_eq!((next, assembled), (0, bits));
    }

    #[test]
    fn every_value_has_a_text_of_one_line_per_field(bits in any::<u64>()) {
        let syndrome = Syndrome::decode(Esr::from_bits(bits));
        let text = syndrome.to_string();
        assert_eq!(text.lines().count(), 1 + syndrome.fields().count());
        assert!(text.lines().all(|line| line.trim_end() == line), "no line ends in blanks");
        assert!(text.starts_with(&format!("{bits:#018x}: ")));
    }
}

/// The names of the fields of `esr`, from bit 63 down.
fn names(esr: u64) -> Vec<&'static str> {
    Syndrome::decode(Esr::from_bits(esr))
        .fields()
        .map(|field| field.name)
        .collect()
}

#[test]
fn every_class_has_fields_that_cover_the_register() {
    for class in 0..64 {
        for status in 0..64 {
            for iss in [status, status | 1 << 24] {
                let syndrome = Syndrome::decode(Esr::from_bits(class << 26 | iss));
                let width: u32 = syndrome.fields().map(|field| u32::from(field.width())).sum();
                assert_eq!(width, 64, "class {class:#x}, iss {iss:#x}");
            }
        }
    }
}

#[test]
fn bits_12_and_11_are_named_for_what_they_mean() {
    let has = |esr: u64, name| names(esr).contains(&name);
    for status in 0..64 {
        let translation = matches!(status, 0x04..=0x0f | 0x2a | 0x2b);
        assert_eq!(has(0x9200_0000 | status, "SET"), status == 0x10);
        assert_eq!(has(0x8200_0000 | status, "SET"), status == 0x10);
        assert_eq!(has(0x9200_0000 | status, "LST"), translation);
        assert!(!has(0x8200_0000 | status, "LST"));
    }
}

#[test]
fn the_instruction_syndrome_is_named_only_where_it_is_valid() {
    let with = ["ISV", "SAS", "SSE", "SRT", "SF", "AR", "VNCR"];
    assert_eq!(names(0x9300_0010)[12..19], with);
    assert_eq!(
        names(0x9200_0010)[12..18],
        ["ISV", "RES0", "WU", "FnP", "PFV", "VNCR"]
    );
    assert_eq!(names(0x9200_0004)[12..17], ["ISV", "RES0", "FnP", "RES0", "VNCR"]);
}

#[test]
fn an_external_abort_alone_has_a_write_update_and_a_physical_fault_address() {
    for status in 0..64 {
        let external = matches!(status, 0x10 | 0x12..=0x17);
        for (esr, wu) in [(0x9200_0000 | status, external), (0x8200_0000 | status, false)] {
            let names = names(esr);
            assert_eq!(
                (names.contains(&"PFV"), names.contains(&"WU")),
                (external, wu),
                "{esr:#x}"
            );
        }
    }
}

#[test]
fn reserved_bits_that_are_set_are_pointed_out() {
    let meaning = |esr| {
        Syndrome::decode(Esr::from_bits(esr))
            .fields()
            .map(|field| field.meaning)
            .next()
    };
    assert_eq!(meaning(0x9200_0010), Some("reserved"));
    assert_eq!(meaning(0x0100_0000_9200_0010), Some("reserved, yet not zero"));
}

#[test]
fn values_and_addresses_are_displayed_in_fixed_width() {
    assert_eq!(Esr::from_bits(0x9200_0010).to_string(), "0x0000000092000010");
    assert_eq!(Gva::from_bits(0xaaaa_df25_4828).to_string(), "0x0000aaaadf254828");
    assert_eq!(Gpa::from_bits(0).to_string(), "0x0000000000000000");
}

#[test]
fn a_page_starts_at_a_multiple_of_its_granule() {
    let gpa = Gpa::from_bits(0xffff_ffff_ffff_f123);
    assert_eq!(gpa.page(4096).bits(), 0xffff_ffff_ffff_f000);
    assert_eq!(gpa.page(1 << 30).bits(), 0xffff_ffff_c000_0000);
    assert_eq!(gpa.page(1), gpa);
    assert_eq!(gpa.page(0), gpa);
}
