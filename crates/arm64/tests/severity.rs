//! The severity of a memory error decides between a dead process and silent corruption: every value of its two
//! fields, and the two mistakes other decoders have made with them.

use seawall_arm64::{
    AsynchronousErrorType, DataAbort, Esr, FaultStatusCode, InstructionAbort, SError, SErrorStatus,
    SynchronousErrorType, Syndrome,
};

const SET: [(u8, SynchronousErrorType, &str); 4] = [
    (0b00, SynchronousErrorType::Recoverable, "recoverable (UER)"),
    (0b01, SynchronousErrorType::Reserved, "reserved"),
    (0b10, SynchronousErrorType::Uncontainable, "uncontainable (UC)"),
    (0b11, SynchronousErrorType::Restartable, "restartable (UEO)"),
];

const AET: [(u8, AsynchronousErrorType, &str); 8] = [
    (0b000, AsynchronousErrorType::Uncontainable, "uncontainable (UC)"),
    (0b001, AsynchronousErrorType::Unrecoverable, "unrecoverable (UEU)"),
    (0b010, AsynchronousErrorType::Restartable, "restartable (UEO)"),
    (0b011, AsynchronousErrorType::Recoverable, "recoverable (UER)"),
    (0b100, AsynchronousErrorType::Reserved(0b100), "reserved"),
    (0b101, AsynchronousErrorType::Reserved(0b101), "reserved"),
    (0b110, AsynchronousErrorType::Corrected, "corrected (CE)"),
    (0b111, AsynchronousErrorType::Reserved(0b111), "reserved"),
];

fn set_of(esr: u64) -> Option<SynchronousErrorType> {
    Syndrome::decode(Esr::from_bits(esr))
        .abort()
        .and_then(|abort| abort.set)
}

#[test]
fn each_value_of_set_is_its_own_severity() {
    for (bits, set, words) in SET {
        assert_eq!(SynchronousErrorType::from_bits(bits), set);
        assert_eq!(
            SynchronousErrorType::from_bits(bits | 0xfc),
            set,
            "bits above the field are ignored"
        );
        assert_eq!(set.bits(), bits);
        assert_eq!(set.description(), words);
    }
}

#[test]
fn each_value_of_aet_is_its_own_severity() {
    for (bits, aet, words) in AET {
        assert_eq!(AsynchronousErrorType::from_bits(bits), aet);
        assert_eq!(
            AsynchronousErrorType::from_bits(bits | 0xf8),
            aet,
            "bits above the field are ignored"
        );
        assert_eq!(aet.bits(), bits);
        assert_eq!(aet.description(), words);
    }
}

/// A mask that is not shifted before it is narrowed to eight bits, `(iss & 0x1800) as u8`, is 0 for every input:
/// all four severities read as recoverable.
#[test]
fn an_uncontainable_abort_is_not_read_as_recoverable() {
    assert_eq!(set_of(0x9200_1010), Some(SynchronousErrorType::Uncontainable));
    assert_eq!(set_of(0x9200_1810), Some(SynchronousErrorType::Restartable));
    assert_eq!(set_of(0x9200_0810), Some(SynchronousErrorType::Reserved));
    assert_eq!(set_of(0x9200_0010), Some(SynchronousErrorType::Recoverable));
    assert_eq!(set_of(0x8200_1010), Some(SynchronousErrorType::Uncontainable));
    assert_eq!(set_of(0x8600_1810), Some(SynchronousErrorType::Restartable));
}

/// AET has three bits, so an arm written `0x110` instead of `0b110` never matches: a corrected error reads as
/// reserved.
#[test]
fn a_corrected_serror_is_not_read_as_reserved() {
    let serror = SError::decode(0b110 << 10 | 0x11);
    assert_eq!(serror.aet(), Some(AsynchronousErrorType::Corrected));
    assert_eq!(
        AsynchronousErrorType::from_bits(0b110),
        AsynchronousErrorType::Corrected
    );
    assert_eq!(
        AsynchronousErrorType::from_bits(0x10),
        AsynchronousErrorType::Uncontainable
    );
}

#[test]
fn set_is_defined_for_one_fault_status_alone() {
    for status in 0..64_u8 {
        for (bits, set, _) in SET {
            let iss = u32::from(bits) << 11 | u32::from(status);
            let expected = (status == 0x10).then_some(set);
            assert_eq!(DataAbort::decode(iss).set(), expected);
            assert_eq!(InstructionAbort::decode(iss).set(), expected);
            assert_eq!(
                DataAbort::decode(iss).lst_bits(),
                (status != 0x10).then_some(bits)
            );
        }
    }
}

#[test]
fn set_is_written_where_it_is_read() {
    for (bits, set, _) in SET {
        let iss = u32::from(bits) << 11 | 0x10;
        let data = DataAbort::default()
            .with_fault_status(FaultStatusCode::EXTERNAL_ABORT)
            .with_set(set);
        assert_eq!((data.encode(), data.set()), (iss, Some(set)));
        let fetch = InstructionAbort::default()
            .with_fault_status(FaultStatusCode::EXTERNAL_ABORT)
            .with_set(set);
        assert_eq!((fetch.encode(), fetch.set()), (iss, Some(set)));
    }
}

#[test]
fn aet_is_defined_for_one_architected_status_alone() {
    for status in 0..64_u8 {
        for (bits, aet, _) in AET {
            let iss = u32::from(bits) << 10 | u32::from(status);
            assert_eq!(SError::decode(iss).aet(), (status == 0x11).then_some(aet));
            assert_eq!(
                SError::decode(1 << 24 | iss).aet(),
                None,
                "implementation defined"
            );
        }
    }
}

#[test]
fn aet_is_written_where_it_is_read() {
    for (bits, aet, _) in AET {
        let serror = SError::default()
            .with_status(SErrorStatus::AsynchronousSError)
            .with_aet(aet);
        assert_eq!(
            (serror.encode(), serror.aet()),
            (u32::from(bits) << 10 | 0x11, Some(aet))
        );
    }
}
