//! `decodeEsr()` and `formatEsr()`.

use napi::bindgen_prelude::BigInt;
use napi_derive::napi;
use seawall_arm64::{AbortCause, AbortKind, Esr, SynchronousErrorType};

#[napi(object, object_from_js = false, use_nullable = true)]
#[derive(Debug)]
pub struct Syndrome {
    #[napi(ts_type = "bigint")]
    pub esr: u64,
    pub exception_class: u8,
    pub name: &'static str,
    pub il: bool,
    pub abort: Option<Abort>,
    pub fields: Vec<Field>,
}

#[napi(object, object_from_js = false)]
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    #[napi(ts_type = "[number, number]")]
    pub bits: Vec<u8>,
    #[napi(ts_type = "bigint")]
    pub value: u64,
    pub meaning: &'static str,
}

#[napi(object, object_from_js = false, use_nullable = true)]
#[derive(Debug)]
pub struct Abort {
    #[napi(ts_type = "'data' | 'instruction'")]
    pub kind: &'static str,
    #[napi(ts_type = "bigint")]
    pub esr: u64,
    pub exception_class: u8,
    pub fault_status: u8,
    #[napi(
        ts_type = "'external' | 'external-table-walk' | 'parity-ecc' | 'parity-ecc-table-walk' | 'other'"
    )]
    pub cause: &'static str,
    pub walk_level: Option<i32>,
    #[napi(ts_type = "'uer' | 'uc' | 'ueo' | 'reserved' | 'unknown'")]
    pub set: &'static str,
    pub write: Option<bool>,
    pub cache_maintenance: bool,
    pub external_type: bool,
}

pub(crate) fn abort(esr: Esr) -> Option<Abort> {
    let syndrome = esr.decode();
    syndrome.abort().map(|abort| Abort {
        kind: match abort.kind {
            AbortKind::Data => "data",
            AbortKind::Instruction => "instruction",
        },
        esr: esr.bits(),
        exception_class: esr.exception_class().bits(),
        fault_status: abort.fault_status.bits(),
        cause: match abort.cause() {
            AbortCause::External => "external",
            AbortCause::ExternalTableWalk => "external-table-walk",
            AbortCause::ParityEcc => "parity-ecc",
            AbortCause::ParityEccTableWalk => "parity-ecc-table-walk",
            AbortCause::Other => "other",
        },
        walk_level: abort.walk_level().map(i32::from),
        set: match abort.set {
            Some(SynchronousErrorType::Recoverable) => "uer",
            Some(SynchronousErrorType::Uncontainable) => "uc",
            Some(SynchronousErrorType::Restartable) => "ueo",
            Some(SynchronousErrorType::Reserved) => "reserved",
            None => "unknown",
        },
        write: abort.write,
        cache_maintenance: abort.cache_maintenance,
        external_type: abort.external_type,
    })
}

/// The word of a bigint that the TypeScript side has checked to be one.
pub(crate) fn word(value: &BigInt) -> u64 {
    value.get_u64().1
}

/// Decodes every field of an ESR value.
#[napi(catch_unwind)]
#[must_use]
pub fn decode_esr(esr: BigInt) -> Syndrome {
    let esr = Esr::from_bits(word(&esr));
    let syndrome = esr.decode();
    Syndrome {
        esr: esr.bits(),
        exception_class: esr.exception_class().bits(),
        name: esr.exception_class().name(),
        il: esr.il(),
        abort: abort(esr),
        fields: syndrome
            .fields()
            .map(|field| Field {
                name: field.name,
                bits: vec![field.bits.0, field.bits.1],
                value: field.value,
                meaning: field.meaning,
            })
            .collect(),
    }
}

/// Describes an ESR value for people.
#[napi(catch_unwind)]
#[must_use]
pub fn format_esr(esr: BigInt) -> String {
    Esr::from_bits(word(&esr)).decode().to_string()
}
