//! Which groups of fields an ESR value has.

use crate::field_table::{self as table, Group};
use crate::{DataAbort, FaultStatusCode, InstructionAbort, Iss, SError, SErrorStatus, Syndrome};

/// Returns the groups of fields of a syndrome, from bit 63 down; unused places are empty.
pub(super) const fn layout(syndrome: &Syndrome) -> [Group; 8] {
    match syndrome.iss() {
        Iss::DataAbort(abort) => data_abort(abort),
        Iss::InstructionAbort(abort) => instruction_abort(abort),
        Iss::SError(serror) => serror_layout(serror),
        Iss::Other(_) => [
            table::TOP,
            table::ISS2,
            table::CLASS,
            table::ISS,
            &[],
            &[],
            &[],
            &[],
        ],
    }
}

const fn data_abort(abort: DataAbort) -> [Group; 8] {
    let status = abort.fault_status();
    let external = is_external(status);
    let instruction: Group = if abort.isv() {
        table::DATA_ISV
    } else if external {
        table::DATA_NO_ISV_EXTERNAL
    } else {
        table::DATA_NO_ISV
    };
    let middle: Group = match status.bits() {
        0x10 => table::SET,
        0x04..=0x0f | 0x2a | 0x2b => table::LST,
        _ => table::NO_SET,
    };
    [
        table::TOP,
        table::DATA_ISS2,
        table::CLASS,
        instruction,
        table::VNCR,
        middle,
        table::DATA_LOW,
        &[],
    ]
}

const fn instruction_abort(abort: InstructionAbort) -> [Group; 8] {
    let status = abort.fault_status();
    let high: Group = if is_external(status) {
        table::INSTRUCTION_HIGH_EXTERNAL
    } else {
        table::INSTRUCTION_HIGH
    };
    let middle: Group = if status.bits() == 0x10 {
        table::SET
    } else {
        table::NO_SET
    };
    [
        table::TOP,
        table::INSTRUCTION_ISS2,
        table::CLASS,
        high,
        middle,
        table::INSTRUCTION_LOW,
        &[],
        &[],
    ]
}

const fn serror_layout(serror: SError) -> [Group; 8] {
    let fields: Group = match serror.status() {
        None => table::SERROR_IMPLEMENTATION_DEFINED,
        Some(SErrorStatus::AsynchronousSError) => table::SERROR_CATEGORIZED,
        Some(SErrorStatus::Uncategorized | SErrorStatus::Reserved(_)) => table::SERROR_UNCATEGORIZED,
    };
    [table::TOP, table::ISS2, table::CLASS, fields, &[], &[], &[], &[]]
}

/// The codes for which WU and PFV are defined: an External abort on the access or on the table walk.
const fn is_external(status: FaultStatusCode) -> bool {
    matches!(status.bits(), 0x10 | 0x12..=0x17)
}
