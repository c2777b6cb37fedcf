//! Which fields an ESR value has: the tables behind [`Syndrome::fields`].
//!
//! A class of exception has its fields in groups that stand one below the other. Where the meaning of a group
//! depends on another field (ISV, the fault status, IDS), there is one table for each meaning.

use crate::{
    AsynchronousErrorType, DataAbort, ExceptionClass, FaultStatusCode, InstructionAbort, Iss, SError,
    SErrorStatus, SynchronousErrorType, Syndrome,
};

/// A field before its value is known.
pub(super) struct FieldSpec {
    pub(super) name: &'static str,
    pub(super) hi: u8,
    pub(super) lo: u8,
    pub(super) meaning: Meaning,
}

/// How a field's value turns into words.
pub(super) enum Meaning {
    /// The value is a number that speaks for itself.
    Number,
    /// The words for 0 and for anything else.
    Either(&'static str, &'static str),
    /// The words for a value that fits in a byte.
    Named(fn(u8) -> &'static str),
}

impl Meaning {
    pub(super) fn of(&self, value: u64) -> &'static str {
        match self {
            Self::Number => "",
            Self::Either(zero, other) => {
                if value == 0 {
                    zero
                } else {
                    other
                }
            }
            Self::Named(words) => words(value.to_le_bytes()[0]),
        }
    }
}

type Group = &'static [FieldSpec];

/// Returns the groups of fields of a syndrome, from bit 63 down; unused places are empty.
pub(super) const fn layout(syndrome: &Syndrome) -> [Group; 8] {
    match syndrome.iss() {
        Iss::DataAbort(abort) => data_abort(abort),
        Iss::InstructionAbort(abort) => instruction_abort(abort),
        Iss::SError(serror) => serror_layout(serror),
        Iss::Other(_) => [TOP, ISS2, CLASS, ISS, &[], &[], &[], &[]],
    }
}

const fn data_abort(abort: DataAbort) -> [Group; 8] {
    let status = abort.fault_status();
    let external = is_external(status);
    let instruction: Group = if abort.isv() {
        DATA_ISV
    } else if external {
        DATA_NO_ISV_EXTERNAL
    } else {
        DATA_NO_ISV
    };
    let middle: Group = match status.bits() {
        0x10 => SET,
        0x04..=0x0f | 0x2a | 0x2b => LST,
        _ => NO_SET,
    };
    [TOP, DATA_ISS2, CLASS, instruction, VNCR, middle, DATA_LOW, &[]]
}

const fn instruction_abort(abort: InstructionAbort) -> [Group; 8] {
    let status = abort.fault_status();
    let high: Group = if is_external(status) {
        INSTRUCTION_HIGH_EXTERNAL
    } else {
        INSTRUCTION_HIGH
    };
    let middle: Group = if status.bits() == 0x10 { SET } else { NO_SET };
    [
        TOP,
        INSTRUCTION_ISS2,
        CLASS,
        high,
        middle,
        INSTRUCTION_LOW,
        &[],
        &[],
    ]
}

const fn serror_layout(serror: SError) -> [Group; 8] {
    let fields: Group = match serror.status() {
        None => SERROR_IMPLEMENTATION_DEFINED,
        Some(SErrorStatus::AsynchronousSError) => SERROR_CATEGORIZED,
        Some(SErrorStatus::Uncategorized | SErrorStatus::Reserved(_)) => SERROR_UNCATEGORIZED,
    };
    [TOP, ISS2, CLASS, fields, &[], &[], &[], &[]]
}

/// The codes for which WU and PFV are defined: an External abort on the access or on the table walk.
const fn is_external(status: FaultStatusCode) -> bool {
    matches!(status.bits(), 0x10 | 0x12..=0x17)
}

const TOP: Group = &[res0(63, 56)];
const ISS2: Group = &[number("ISS2", 55, 32)];
const ISS: Group = &[number("ISS", 24, 0)];
const CLASS: Group = &[
    named("EC", 31, 26, |bits| ExceptionClass::from_bits(bits).name()),
    either(
        "IL",
        25,
        "16-bit instruction",
        "32-bit instruction, or no instruction syndrome",
    ),
];

const DATA_ISS2: Group = &[
    res0(55, 44),
    either(
        "HDBSSF",
        43,
        "not caused by the dirty state structure",
        "caused by the dirty state structure",
    ),
    either(
        "TnD",
        42,
        "not a write of an allocation tag",
        "write of an allocation tag",
    ),
    either("TagAccess", 41, "not a NoTagAccess fault", "NoTagAccess fault"),
    either(
        "GCS",
        40,
        "not a guarded control stack access",
        "guarded control stack access",
    ),
    either(
        "AssuredOnly",
        39,
        "not caused by AssuredOnly",
        "caused by AssuredOnly",
    ),
    either(
        "Overlay",
        38,
        "not caused by overlay permissions",
        "caused by overlay permissions",
    ),
    either(
        "DirtyBit",
        37,
        "not caused by dirty state",
        "caused by dirty state",
    ),
    number("Xs", 36, 32),
];
const INSTRUCTION_ISS2: Group = &[
    res0(55, 40),
    either(
        "AssuredOnly",
        39,
        "not caused by AssuredOnly",
        "caused by AssuredOnly",
    ),
    either(
        "Overlay",
        38,
        "not caused by overlay permissions",
        "caused by overlay permissions",
    ),
    res0(37, 32),
];

const DATA_ISV: Group = &[
    ISV,
    named("SAS", 23, 22, |bits| match bits {
        0b00 => "byte",
        0b01 => "halfword",
        0b10 => "word",
        _ => "doubleword",
    }),
    either("SSE", 21, "no sign extension", "sign extension"),
    number("SRT", 20, 16),
    either("SF", 15, "32-bit register", "64-bit register"),
    either(
        "AR",
        14,
        "no acquire or release semantics",
        "acquire or release semantics",
    ),
];
const DATA_NO_ISV: Group = &[ISV, res0(23, 16), FNP, res0(14, 14)];
const DATA_NO_ISV_EXTERNAL: Group = &[ISV, res0(23, 18), WU, FNP, PFV];
const ISV: FieldSpec = either(
    "ISV",
    24,
    "no valid instruction syndrome",
    "instruction syndrome valid",
);
const FNP: FieldSpec = either("FnP", 15, "FAR is precise, if valid", "FAR is not precise");
const WU: FieldSpec = named("WU", 17, 16, |bits| match bits {
    0b00 => "no store, or the location may have been updated",
    0b10 => "store that did not update the location",
    0b11 => "store that updated the location",
    _ => "reserved",
});
const PFV: FieldSpec = either("PFV", 14, "PFAR is not valid", "PFAR is valid");
const VNCR: Group = &[either(
    "VNCR",
    13,
    "not an access through VNCR_EL2",
    "access through VNCR_EL2",
)];
const SET: Group = &[named("SET", 12, 11, |bits| {
    SynchronousErrorType::from_bits(bits).description()
})];
const LST: Group = &[named("LST", 12, 11, |bits| match bits {
    0b00 => "not specified",
    0b01 => "ST64BV",
    0b10 => "LD64B or ST64B",
    _ => "ST64BV0",
})];
const NO_SET: Group = &[res0(12, 11)];
const FNV: FieldSpec = either("FnV", 10, "FAR is valid", "FAR is not valid");
const EA: FieldSpec = either("EA", 9, "", "IMPLEMENTATION DEFINED external abort type");
const S1PTW: FieldSpec = either(
    "S1PTW",
    7,
    "not stage 2 of a stage 1 table walk",
    "stage 2 of a stage 1 table walk",
);
const DATA_LOW: Group = &[
    FNV,
    EA,
    either(
        "CM",
        8,
        "not cache maintenance",
        "cache maintenance or address translation",
    ),
    S1PTW,
    WNR,
    named("DFSC", 5, 0, |bits| {
        FaultStatusCode::from_bits(bits).description()
    }),
];
const WNR: FieldSpec = either("WnR", 6, "read", "write");

const INSTRUCTION_HIGH: Group = &[res0(24, 13)];
const INSTRUCTION_HIGH_EXTERNAL: Group = &[res0(24, 15), PFV, res0(13, 13)];
const INSTRUCTION_LOW: Group = &[
    FNV,
    EA,
    res0(8, 8),
    S1PTW,
    res0(6, 6),
    named("IFSC", 5, 0, |bits| {
        FaultStatusCode::from_bits(bits).description()
    }),
];

const IDS: FieldSpec = either(
    "IDS",
    24,
    "architected syndrome",
    "IMPLEMENTATION DEFINED syndrome",
);
const SERROR_IMPLEMENTATION_DEFINED: Group = &[IDS, number("IMPDEF", 23, 0)];
const SERROR_UNCATEGORIZED: Group = &[IDS, res0(23, 6), SERROR_DFSC];
const SERROR_CATEGORIZED: Group = &[
    IDS,
    res0(23, 19),
    either(
        "ELS",
        18,
        "ELR does not name the cause",
        "ELR names the instruction that caused it",
    ),
    WU,
    either("VFV", 15, "FAR is not valid", "FAR is valid"),
    PFV,
    either(
        "IESB",
        13,
        "not synchronized by an implicit event",
        "synchronized by an implicit event",
    ),
    named("AET", 12, 10, |bits| {
        AsynchronousErrorType::from_bits(bits).description()
    }),
    EA,
    res0(8, 8),
    either("WnRV", 7, "WnR is not valid", "WnR is valid"),
    either("WnR", 6, "read, if WnR is valid", "write, if WnR is valid"),
    SERROR_DFSC,
];
const SERROR_DFSC: FieldSpec = named("DFSC", 5, 0, |bits| SErrorStatus::from_bits(bits).description());

const fn number(name: &'static str, hi: u8, lo: u8) -> FieldSpec {
    FieldSpec {
        name,
        hi,
        lo,
        meaning: Meaning::Number,
    }
}

const fn either(name: &'static str, at: u8, zero: &'static str, one: &'static str) -> FieldSpec {
    FieldSpec {
        name,
        hi: at,
        lo: at,
        meaning: Meaning::Either(zero, one),
    }
}

const fn named(name: &'static str, hi: u8, lo: u8, words: fn(u8) -> &'static str) -> FieldSpec {
    FieldSpec {
        name,
        hi,
        lo,
        meaning: Meaning::Named(words),
    }
}

const fn res0(hi: u8, lo: u8) -> FieldSpec {
    FieldSpec {
        name: "RES0",
        hi,
        lo,
        meaning: Meaning::Either("reserved", "reserved, yet not zero"),
    }
}
