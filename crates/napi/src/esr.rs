//! `decodeEsr()` and `formatEsr()`.

use std::fmt::{self, Write};

use napi::bindgen_prelude::{BigInt, BufferSlice};
use napi_derive::napi;
use seawall_arm64::{AbortCause, AbortKind, Esr, SynchronousErrorType};

use crate::record::{Byte, Flag, Record, Slot, Word};

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

/// Decodes every field of an ESR value: the abort, where it is one, into a record, and the rest into lines. The first three are
/// the exception class, what it means, and IL; then each field has five: its name, its highest and its lowest bit, its value in
/// hexadecimal and what that means.
#[napi(catch_unwind)]
#[must_use]
pub fn decode_esr(esr: BigInt, mut record: BufferSlice<'_>) -> String {
    let esr = Esr::from_bits(word(&esr));
    let syndrome = esr.decode();
    let mut abort = Record::default();
    if let Some(found) = syndrome.abort() {
        write_abort(&mut abort, esr, &found);
    }
    // An abort has no texts.
    abort.copy_to(&mut record);
    let class = esr.exception_class();
    let il = u8::from(esr.il());
    let mut lines = text(format_args!("{}\n{}\n{il}", class.bits(), class.name()));
    for field in syndrome.fields() {
        let (high, low) = field.bits;
        let (name, value, meaning) = (field.name, field.value, field.meaning);
        let line = format_args!("\n{name}\n{high}\n{low}\n{value:#x}\n{meaning}");
        // A String takes everything.
        lines.write_fmt(line).unwrap_or(());
    }
    lines
}

/// Text with room for all fields of an ESR value: to grow step by step costs more than the text.
fn text(beginning: fmt::Arguments<'_>) -> String {
    let mut text = String::with_capacity(2048);
    // A String takes everything.
    text.write_fmt(beginning).unwrap_or(());
    text
}

/// Describes an ESR value for people.
#[napi(catch_unwind)]
#[must_use]
pub fn format_esr(esr: BigInt) -> String {
    text(format_args!("{}", Esr::from_bits(word(&esr)).decode()))
}
