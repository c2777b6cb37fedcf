//! Every field of the abort and SError syndromes, over all its values: decode, and re-encode.

use seawall_arm64::{
    AccessSize, AsynchronousErrorType, DataAbort, FaultStatusCode, InstructionAbort, SError, SErrorStatus,
    SynchronousErrorType,
};

/// A field of type `T`: its name, bits and the two directions. A getter that answers `None` says that the
/// field is not defined among the other bits.
struct Case<T> {
    name: &'static str,
    hi: u32,
    lo: u32,
    get: fn(T) -> Option<u8>,
    set: fn(T, u8) -> T,
}

fn check<T: Copy>(decode: fn(u32) -> T, encode: fn(T) -> u32, backgrounds: &[u32], cases: &[Case<T>]) {
    for Case {
        name,
        hi,
        lo,
        get,
        set,
    } in cases
    {
        let mask = (u32::MAX >> (31 - (hi - lo))) << lo;
        for background in backgrounds {
            for value in 0..(1 << (hi - lo + 1)) {
                let iss = background & !mask | u32::from(value) << lo;
                let written = set(decode(*background), value);
                assert_eq!(
                    encode(written),
                    iss,
                    "{name} = {value:#x} written over {background:#x}"
                );
                if let Some(read) = get(decode(iss)) {
                    assert_eq!(read, value, "{name} read from {iss:#x}");
                }
            }
        }
    }
}

const BACKGROUNDS: [u32; 6] = [0, 0x01ff_ffff, 0x0155_5555, 0x00aa_aaaa, 0x10, 0x01ff_ffd0];

fn flag(value: u8) -> bool {
    value == 1
}

#[test]
fn every_field_of_a_data_abort_is_read_and_written_in_its_place() {
    let cases: [Case<DataAbort>; 15] = [
        Case {
            name: "ISV",
            hi: 24,
            lo: 24,
            get: |a| Some(a.isv().into()),
            set: |a, v| a.with_isv(flag(v)),
        },
        Case {
            name: "SAS",
            hi: 23,
            lo: 22,
            get: |a| Some(a.sas().bits()),
            set: |a, v| a.with_sas(AccessSize::from_bits(v)),
        },
        Case {
            name: "SSE",
            hi: 21,
            lo: 21,
            get: |a| Some(a.sse().into()),
            set: |a, v| a.with_sse(flag(v)),
        },
        Case {
            name: "SRT",
            hi: 20,
            lo: 16,
            get: |a| Some(a.srt()),
            set: |a, v| a.with_srt(v),
        },
        Case {
            name: "SF",
            hi: 15,
            lo: 15,
            get: |a| Some(a.sf().into()),
            set: |a, v| a.with_sf(flag(v)),
        },
        Case {
            name: "AR",
            hi: 14,
            lo: 14,
            get: |a| Some(a.ar().into()),
            set: |a, v| a.with_ar(flag(v)),
        },
        Case {
            name: "VNCR",
            hi: 13,
            lo: 13,
            get: |a| Some(a.vncr().into()),
            set: |a, v| a.with_vncr(flag(v)),
        },
        Case {
            name: "SET",
            hi: 12,
            lo: 11,
            get: |a| a.set().map(SynchronousErrorType::bits),
            set: |a, v| a.with_set(SynchronousErrorType::from_bits(v)),
        },
        Case {
            name: "LST",
            hi: 12,
            lo: 11,
            get: DataAbort::lst_bits,
            set: |a, v| a.with_set(SynchronousErrorType::from_bits(v)),
        },
        Case {
            name: "FnV",
            hi: 10,
            lo: 10,
            get: |a| Some((!a.far_valid()).into()),
            set: |a, v| a.with_far_valid(!flag(v)),
        },
        Case {
            name: "EA",
            hi: 9,
            lo: 9,
            get: |a| Some(a.external_type().into()),
            set: |a, v| a.with_external_type(flag(v)),
        },
        Case {
            name: "CM",
            hi: 8,
            lo: 8,
            get: |a| Some(a.cache_maintenance().into()),
            set: |a, v| a.with_cache_maintenance(flag(v)),
        },
        Case {
            name: "S1PTW",
            hi: 7,
            lo: 7,
            get: |a| Some(a.s1ptw().into()),
            set: |a, v| a.with_s1ptw(flag(v)),
        },
        Case {
            name: "WnR",
            hi: 6,
            lo: 6,
            get: |a| Some(a.write().into()),
            set: |a, v| a.with_write(flag(v)),
        },
        Case {
            name: "DFSC",
            hi: 5,
            lo: 0,
            get: |a| Some(a.fault_status().bits()),
            set: |a, v| a.with_fault_status(FaultStatusCode::from_bits(v)),
        },
    ];
    check(DataAbort::decode, DataAbort::encode, &BACKGROUNDS, &cases);
}

#[test]
fn every_field_of_an_instruction_abort_is_read_and_written_in_its_place() {
    let cases: [Case<InstructionAbort>; 5] = [
        Case {
            name: "SET",
            hi: 12,
            lo: 11,
            get: |a| a.set().map(SynchronousErrorType::bits),
            set: |a, v| a.with_set(SynchronousErrorType::from_bits(v)),
        },
        Case {
            name: "FnV",
            hi: 10,
            lo: 10,
            get: |a| Some((!a.far_valid()).into()),
            set: |a, v| a.with_far_valid(!flag(v)),
        },
        Case {
            name: "EA",
            hi: 9,
            lo: 9,
            get: |a| Some(a.external_type().into()),
            set: |a, v| a.with_external_type(flag(v)),
        },
        Case {
            name: "S1PTW",
            hi: 7,
            lo: 7,
            get: |a| Some(a.s1ptw().into()),
            set: |a, v| a.with_s1ptw(flag(v)),
        },
        Case {
            name: "IFSC",
            hi: 5,
            lo: 0,
            get: |a| Some(a.fault_status().bits()),
            set: |a, v| a.with_fault_status(FaultStatusCode::from_bits(v)),
        },
    ];
    check(
        InstructionAbort::decode,
        InstructionAbort::encode,
        &BACKGROUNDS,
        &cases,
    );
}

#[test]
fn every_field_of_an_serror_is_read_and_written_in_its_place() {
    let cases: [Case<SError>; 5] = [
        Case {
            name: "IDS",
            hi: 24,
            lo: 24,
            get: |e| Some(e.implementation_defined().into()),
            set: |e, v| e.with_implementation_defined(flag(v)),
        },
        Case {
            name: "IESB",
            hi: 13,
            lo: 13,
            get: |e| e.iesb().map(u8::from),
            set: |e, v| e.with_iesb(flag(v)),
        },
        Case {
            name: "AET",
            hi: 12,
            lo: 10,
            get: |e| e.aet().map(AsynchronousErrorType::bits),
            set: |e, v| e.with_aet(AsynchronousErrorType::from_bits(v)),
        },
        Case {
            name: "EA",
            hi: 9,
            lo: 9,
            get: |e| e.external_type().map(u8::from),
            set: |e, v| e.with_external_type(flag(v)),
        },
        Case {
            name: "DFSC",
            hi: 5,
            lo: 0,
            get: |e| e.status().map(SErrorStatus::bits),
            set: |e, v| e.with_status(SErrorStatus::from_bits(v)),
        },
    ];
    // The third is an architected SError with every other bit set, so that no getter answers `None` for it.
    check(
        SError::decode,
        SError::encode,
        &[0, 0x01ff_ffff, 0x00ff_ffd1, 0x11],
        &cases,
    );
}

#[test]
fn an_implementation_defined_serror_has_bits_and_no_fields() {
    let serror = SError::decode(0x01d1_ed11);
    assert_eq!(serror.implementation_defined_bits(), Some(0x00d1_ed11));
    assert_eq!(
        (
            serror.status(),
            serror.aet(),
            serror.iesb(),
            serror.external_type()
        ),
        (None, None, None, None)
    );
    assert_eq!(SError::decode(0x00d1_ed11).implementation_defined_bits(), None);
}

#[test]
fn an_serror_word_is_its_class_il_and_iss() {
    for iss in [0, 0x11, 0x0100_0000, 0x01ff_ffff] {
        assert_eq!(SError::decode(iss).esr().bits(), 0xbe00_0000 | u64::from(iss));
    }
}

#[test]
fn access_sizes_are_powers_of_two() {
    let widths = [0b00, 0b01, 0b10, 0b11].map(|bits| AccessSize::from_bits(bits).bytes());
    assert_eq!(widths, [1, 2, 4, 8]);
}
