//! Nothing is lost: every ESR value decodes, and encodes back to itself.

use proptest::prelude::{any, proptest};
use seawall_arm64::{DataAbort, Esr, ExceptionClass, InstructionAbort, Iss, SError, Syndrome};

proptest! {
    #[test]
    fn encoding_a_decoded_value_gives_the_value(bits in any::<u64>()) {
        let esr = Esr::from_bits(bits);
        assert_eq!(Syndrome::decode(esr).encode(), esr);
        assert_eq!(esr.decode().esr().bits(), bits);
    }

    #[test]
    fn decoding_an_encoded_syndrome_gives_the_syndrome(bits in any::<u64>()) {
        let syndrome = Syndrome::from(Esr::from_bits(bits));
        assert_eq!(Syndrome::decode(syndrome.encode()), syndrome);
    }

    #[test]
    fn an_iss_keeps_all_its_bits(iss in any::<u32>()) {
        let low = iss & 0x01ff_ffff;
        assert_eq!(DataAbort::decode(iss).encode(), low);
        assert_eq!(InstructionAbort::decode(iss).encode(), low);
        assert_eq!(SError::decode(iss).encode(), low);
    }

    #[test]
    fn the_parts_of_a_value_are_its_bits(bits in any::<u64>()) {
        let esr = Esr::from_bits(bits);
        assert_eq!(u64::from(esr.iss()), bits & 0x01ff_ffff);
        assert_eq!(u64::from(esr.iss2()), (bits >> 32) & 0x00ff_ffff);
        assert_eq!(esr.il(), bits & (1 << 25) != 0);
        assert_eq!(u64::from(esr.exception_class().bits()), (bits >> 26) & 0x3f);
        let syndrome = esr.decode();
        assert_eq!((syndrome.il(), syndrome.iss2()), (esr.il(), esr.iss2()));
        assert_eq!(syndrome.exception_class(), esr.exception_class());
    }

    #[test]
    fn a_built_value_has_il_set_and_no_reserved_bits(class in 0..64_u8, iss in any::<u32>()) {
        let esr = Esr::new(ExceptionClass::from_bits(class), iss);
        assert_eq!(esr.bits(), u64::from(class) << 26 | 1 << 25 | u64::from(iss & 0x01ff_ffff));
    }
}

#[test]
fn every_bit_survives_in_every_class() {
    for class in 0..64_u64 {
        for background in [0, !(0x3f << 26)] {
            for at in (0..64).filter(|at| !(26..32).contains(at)) {
                let bits = (class << 26) | (background ^ (1 << at));
                assert_eq!(
                    Esr::from_bits(bits).decode().encode().bits(),
                    bits,
                    "bit {at} of {bits:#x}"
                );
            }
        }
    }
}

#[test]
fn the_class_decides_how_the_iss_is_read() {
    for class in 0..64_u8 {
        let iss = Esr::from_bits(u64::from(class) << 26 | 0x0155_5555)
            .decode()
            .iss();
        match class {
            0x20 | 0x21 => assert_eq!(iss, Iss::InstructionAbort(InstructionAbort::decode(0x0155_5555))),
            0x24 | 0x25 => assert_eq!(iss, Iss::DataAbort(DataAbort::decode(0x0155_5555))),
            0x2f => assert_eq!(iss, Iss::SError(SError::decode(0x0155_5555))),
            _ => assert_eq!(iss, Iss::Other(0x0155_5555)),
        }
    }
}

#[test]
fn every_class_keeps_its_bits_and_reserved_ones_are_values() {
    let mut reserved = 0;
    for bits in 0..64_u8 {
        let class = ExceptionClass::from_bits(bits);
        assert_eq!(class.bits(), bits);
        assert_eq!(
            ExceptionClass::from_bits(bits | 0xc0),
            class,
            "bits above the field are ignored"
        );
        if class == ExceptionClass::Reserved(bits) {
            assert_eq!(class.to_string(), "Reserved exception class");
            reserved += 1;
        }
    }
    assert_eq!(reserved, 15);
}

#[test]
fn the_classes_of_aborts_have_their_architected_codes() {
    for (bits, class) in [
        (0x20, ExceptionClass::InstructionAbortLowerEl),
        (0x21, ExceptionClass::InstructionAbortSameEl),
        (0x24, ExceptionClass::DataAbortLowerEl),
        (0x25, ExceptionClass::DataAbortSameEl),
        (0x2f, ExceptionClass::SError),
        (0x00, ExceptionClass::Unknown),
        (0x15, ExceptionClass::Svc64),
        (0x3c, ExceptionClass::Brk64),
    ] {
        assert_eq!(ExceptionClass::from_bits(bits), class);
    }
    assert_eq!(
        ExceptionClass::from_bits(0x24).name(),
        "Data Abort from a lower Exception level"
    );
}
