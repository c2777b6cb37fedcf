//! The fields of an ESR value, group by group, from bit 63 down.
//!
//! A class of exception has its fields in groups that stand one below the other; [`layout`](crate::layout)
//! chooses them. Where the meaning of a group depends on another field (ISV, the fault status, IDS), there is one
//! table for each meaning. Names are those of DDI 0487, ESR_EL1, *ISS* and *ISS2* encodings.

use crate::field_spec::FieldSpec;
use crate::{AsynchronousErrorType, ExceptionClass, FaultStatusCode, SErrorStatus, SynchronousErrorType};

/// Fields that belong together, highest first.
pub(super) type Group = &'static [FieldSpec];

pub(super) const TOP: Group = &[FieldSpec::res0(63, 56)];
pub(super) const ISS2: Group = &[FieldSpec::number("ISS2", 55, 32)];
pub(super) const ISS: Group = &[FieldSpec::number("ISS", 24, 0)];
pub(super) const CLASS: Group = &[
    FieldSpec::named("EC", 31, 26, |bits| ExceptionClass::from_bits(bits).name()),
    FieldSpec::either(
        "IL",
        25,
        "16-bit instruction",
        "32-bit instruction, or no instruction syndrome",
    ),
];

pub(super) const DATA_ISS2: Group = &[
    FieldSpec::res0(55, 44),
    FieldSpec::either(
        "HDBSSF",
        43,
        "not caused by the dirty state structure",
        "caused by the dirty state structure",
    ),
    FieldSpec::either(
        "TnD",
        42,
        "not a write of an allocation tag",
        "write of an allocation tag",
    ),
    FieldSpec::either("TagAccess", 41, "not a NoTagAccess fault", "NoTagAccess fault"),
    FieldSpec::either(
        "GCS",
        40,
        "not a guarded control stack access",
        "guarded control stack access",
    ),
    FieldSpec::either(
        "AssuredOnly",
        39,
        "not caused by AssuredOnly",
        "caused by AssuredOnly",
    ),
    FieldSpec::either(
        "Overlay",
        38,
        "not caused by overlay permissions",
        "caused by overlay permissions",
    ),
    FieldSpec::either(
        "DirtyBit",
        37,
        "not caused by dirty state",
        "caused by dirty state",
    ),
    FieldSpec::number("Xs", 36, 32),
];
pub(super) const INSTRUCTION_ISS2: Group = &[
    FieldSpec::res0(55, 40),
    FieldSpec::either(
        "AssuredOnly",
        39,
        "not caused by AssuredOnly",
        "caused by AssuredOnly",
    ),
    FieldSpec::either(
        "Overlay",
        38,
        "not caused by overlay permissions",
        "caused by overlay permissions",
    ),
    FieldSpec::res0(37, 32),
];

pub(super) const DATA_ISV: Group = &[
    ISV,
    FieldSpec::named("SAS", 23, 22, |bits| match bits {
        0b00 => "byte",
        0b01 => "halfword",
        0b10 => "word",
        _ => "doubleword",
    }),
    FieldSpec::either("SSE", 21, "no sign extension", "sign extension"),
    FieldSpec::number("SRT", 20, 16),
    FieldSpec::either("SF", 15, "32-bit register", "64-bit register"),
    FieldSpec::either(
        "AR",
        14,
        "no acquire or release semantics",
        "acquire or release semantics",
    ),
];
pub(super) const DATA_NO_ISV: Group = &[ISV, FieldSpec::res0(23, 16), FNP, FieldSpec::res0(14, 14)];
pub(super) const DATA_NO_ISV_EXTERNAL: Group = &[ISV, FieldSpec::res0(23, 18), WU, FNP, PFV];
const ISV: FieldSpec = FieldSpec::either(
    "ISV",
    24,
    "no valid instruction syndrome",
    "instruction syndrome valid",
);
const FNP: FieldSpec = FieldSpec::either("FnP", 15, "FAR is precise, if valid", "FAR is not precise");
const WU: FieldSpec = FieldSpec::named("WU", 17, 16, |bits| match bits {
    0b00 => "no store, or the location may have been updated",
    0b10 => "store that did not update the location",
    0b11 => "store that updated the location",
    _ => "reserved",
});
const PFV: FieldSpec = FieldSpec::either("PFV", 14, "PFAR is not valid", "PFAR is valid");
pub(super) const VNCR: Group = &[FieldSpec::either(
    "VNCR",
    13,
    "not an access through VNCR_EL2",
    "access through VNCR_EL2",
)];
pub(super) const SET: Group = &[FieldSpec::named("SET", 12, 11, |bits| {
    SynchronousErrorType::from_bits(bits).description()
})];
pub(super) const LST: Group = &[FieldSpec::named("LST", 12, 11, |bits| match bits {
    0b00 => "not specified",
    0b01 => "ST64BV",
    0b10 => "LD64B or ST64B",
    _ => "ST64BV0",
})];
pub(super) const NO_SET: Group = &[FieldSpec::res0(12, 11)];
const FNV: FieldSpec = FieldSpec::either("FnV", 10, "FAR is valid", "FAR is not valid");
const EA: FieldSpec = FieldSpec::either("EA", 9, "", "IMPLEMENTATION DEFINED external abort type");
const S1PTW: FieldSpec = FieldSpec::either(
    "S1PTW",
    7,
    "not stage 2 of a stage 1 table walk",
    "stage 2 of a stage 1 table walk",
);
pub(super) const DATA_LOW: Group = &[
    FNV,
    EA,
    FieldSpec::either(
        "CM",
        8,
        "not cache maintenance",
        "cache maintenance or address translation",
    ),
    S1PTW,
    WNR,
    FieldSpec::named("DFSC", 5, 0, |bits| {
        FaultStatusCode::from_bits(bits).description()
    }),
];
const WNR: FieldSpec = FieldSpec::either("WnR", 6, "read", "write");

pub(super) const INSTRUCTION_HIGH: Group = &[FieldSpec::res0(24, 13)];
pub(super) const INSTRUCTION_HIGH_EXTERNAL: Group = &[FieldSpec::res0(24, 15), PFV, FieldSpec::res0(13, 13)];
pub(super) const INSTRUCTION_LOW: Group = &[
    FNV,
    EA,
    FieldSpec::res0(8, 8),
    S1PTW,
    FieldSpec::res0(6, 6),
    FieldSpec::named("IFSC", 5, 0, |bits| {
        FaultStatusCode::from_bits(bits).description()
    }),
];

const IDS: FieldSpec = FieldSpec::either(
    "IDS",
    24,
    "architected syndrome",
    "IMPLEMENTATION DEFINED syndrome",
);
pub(super) const SERROR_IMPLEMENTATION_DEFINED: Group = &[IDS, FieldSpec::number("IMPDEF", 23, 0)];
pub(super) const SERROR_UNCATEGORIZED: Group = &[IDS, FieldSpec::res0(23, 6), SERROR_DFSC];
pub(super) const SERROR_CATEGORIZED: Group = &[
    IDS,
    FieldSpec::res0(23, 19),
    FieldSpec::either(
        "ELS",
        18,
        "ELR does not name the cause",
        "ELR names the instruction that caused it",
    ),
    WU,
    FieldSpec::either("VFV", 15, "FAR is not valid", "FAR is valid"),
    PFV,
    FieldSpec::either(
        "IESB",
        13,
        "not synchronized by an implicit event",
        "synchronized by an implicit event",
    ),
    FieldSpec::named("AET", 12, 10, |bits| {
        AsynchronousErrorType::from_bits(bits).description()
    }),
    EA,
    FieldSpec::res0(8, 8),
    FieldSpec::either("WnRV", 7, "WnR is not valid", "WnR is valid"),
    FieldSpec::either("WnR", 6, "read, if WnR is valid", "write, if WnR is valid"),
    SERROR_DFSC,
];
const SERROR_DFSC: FieldSpec =
    FieldSpec::named("DFSC", 5, 0, |bits| SErrorStatus::from_bits(bits).description());
