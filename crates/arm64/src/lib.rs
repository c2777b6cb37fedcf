//! Total decoding and encoding of arm64 syndromes, and the exception entry KVM performs.
//!
//! A memory error that a guest consumed reaches the hypervisor as an ESR value. This crate says what that
//! value means ([`Syndrome`]), what the guest's own ESR_EL1 must say when the abort is handed on
//! ([`synthesize_sea`]), and which registers an abort changes ([`take_exception`]). It is arithmetic on values:
//! no I/O, no allocation, nothing but `core`.
//!
//! Decoding is **total**: every 64-bit value decodes, no function returns an error, and a value the
//! architecture leaves reserved stays a value that keeps its bits. Encoding is the exact inverse.
//!
//! Names and meanings are those of the Arm Architecture Reference Manual for A-profile (DDI 0487), chapter D,
//! *ESR_EL1, Exception Syndrome Register (EL1)*; where KVM decides, those of the Linux 7.3 sources.
//!
//! ```
//! use seawall_arm64::{AbortCause, AbortKind, Esr, SynchronousErrorType, Syndrome};
//!
//! // What KVM_EXIT_ARM_SEA reported on real hardware: an external abort whose FAR is not valid.
//! let syndrome = Syndrome::decode(Esr::from_bits(0x9200_0610));
//! let abort = syndrome.abort().expect("EC 0x24 is a Data Abort");
//!
//! assert_eq!(abort.kind, AbortKind::Data);
//! assert_eq!(abort.fault_status.cause(), AbortCause::External);
//! assert_eq!(abort.set, Some(SynchronousErrorType::Recoverable));
//! assert!(!abort.far_valid);
//! assert_eq!(syndrome.encode().bits(), 0x9200_0610);
//! ```
#![no_std]
#![forbid(unsafe_code)]

mod abort;
mod address;
mod bits;
mod data_abort;
mod error_type;
mod esr;
mod exception_class;
mod exception_entry;
mod fault_status;
mod field;
mod field_spec;
mod field_table;
mod instruction_abort;
mod layout;
mod mode;
mod pstate;
mod serror;
mod syndrome;
mod synthesis;
mod vector;

pub use abort::{Abort, AbortKind};
pub use address::{Gpa, Gva};
pub use data_abort::{AccessSize, DataAbort};
pub use error_type::{AsynchronousErrorType, SynchronousErrorType};
pub use esr::Esr;
pub use exception_class::ExceptionClass;
pub use exception_entry::{EntryState, Exception, ExceptionEntry, take_exception};
pub use fault_status::{AbortCause, FaultStatusCode};
pub use field::Field;
pub use instruction_abort::InstructionAbort;
pub use mode::{AArch32Mode, ExceptionLevel, Mode};
pub use pstate::Pstate;
pub use serror::{SError, SErrorStatus};
pub use syndrome::{Iss, Syndrome};
pub use synthesis::{FarUpdate, SynthesizedAbort, kernel_injected_esr, synthesize_sea};
pub use vector::{VectorKind, VectorOffset, VectorSource};
