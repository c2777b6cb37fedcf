//! `decodeEsr()` and `formatEsr()`.

use napi::bindgen_prelude::BigInt;
use napi_derive::napi;
use seawall_arm64::{AbortCause, AbortKind, Esr, SynchronousErrorType};

use crate::record::{Byte, Flag, Record, Slot, Word};

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

const fn kind(kind: AbortKind) -> Word {
    match kind {
        AbortKind::Data => Word::Data,
        AbortKind::Instruction => Word::Instruction,
    }
}

const fn cause(cause: AbortCause) -> Word {
    match cause {
        AbortCause::External => Word::External,
        AbortCause::ExternalTableWalk => Word::ExternalTableWalk,
        AbortCause::ParityEcc => Word::ParityEcc,
        AbortCause::ParityEccTableWalk => Word::ParityEccTableWalk,
        AbortCause::Other => Word::Other,
    }
}

const fn error_type(set: Option<SynchronousErrorType>) -> Word {
    match set {
        Some(SynchronousErrorType::Recoverable) => Word::Uer,
        Some(SynchronousErrorType::Uncontainable) => Word::Uc,
        Some(SynchronousErrorType::Restartable) => Word::Ueo,
        Some(SynchronousErrorType::Reserved) => Word::Reserved,
        None => Word::Unknown,
    }
}

fn abort(esr: Esr) -> Option<Abort> {
    let syndrome = esr.decode();
    syndrome.abort().map(|abort| Abort {
        kind: kind(abort.kind).text(),
        esr: esr.bits(),
        exception_class: esr.exception_class().bits(),
        fault_status: abort.fault_status.bits(),
        cause: cause(abort.cause()).text(),
        walk_level: abort.walk_level().map(i32::from),
        set: error_type(abort.set).text(),
        write: abort.write,
        cache_maintenance: abort.cache_maintenance,
        external_type: abort.external_type,
    })
}

/// Adds an abort to a record.
pub(crate) fn write_abort(record: &mut Record, esr: Esr, abort: &seawall_arm64::Abort) {
    record.option(Flag::Abort, Slot::Esr, Some(esr.bits()));
    record.word(Byte::Kind, kind(abort.kind));
    record.byte(Byte::ExceptionClass, esr.exception_class().bits());
    record.byte(Byte::FaultStatus, abort.fault_status.bits());
    record.word(Byte::Cause, cause(abort.cause()));
    if let Some(level) = abort.walk_level() {
        record.flag(Flag::WalkLevel, true);
        record.byte(Byte::WalkLevel, level.saturating_add(1).unsigned_abs());
    }
    record.word(Byte::Set, error_type(abort.set));
    record.flag(Flag::WriteKnown, abort.write.is_some());
    record.flag(Flag::Write, abort.write == Some(true));
    record.flag(Flag::CacheMaintenance, abort.cache_maintenance);
    record.flag(Flag::ExternalType, abort.external_type);
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
