//! Seawall's virtual machine: it runs arm64 guests and contains the memory errors they consume.
//!
//! Data flows one way. A vCPU's thread runs the guest; an exit is an owned value; a memory error is recorded in the
//! ledger, decided by the policy (a pure function), planned (a pure function), injected into the same vCPU on the same
//! thread and verified by reading back; what happened becomes an event in a bounded ring.
//!
//! [`Vm::create`] is the way in.
#![forbid(unsafe_code)]

pub mod acpi;
mod agent;
mod backend;
mod boot;
mod containment;
mod devices;
mod error;
mod event;
pub mod ghes;
mod little_endian;
pub mod memory_layout;
mod mode;
mod notifier;
mod options;
pub mod sea;
mod simulated;
mod statistics;
mod sync;
mod vcpu;
mod vm;

pub use backend::QuarantineError;
pub use boot::BootError;
pub use error::{InjectionError, UnhandledExit, VmError};
pub use event::{
    AccessKind, DecidedBy, DeferralOutcome, DeferralReport, Event, EventKind, Injection, InjectionMethod,
    MemoryFailure, QuarantineMethod, QuarantineReport, ReadyList, UnclaimedAccess, Wake,
};
pub use mode::UnsupportedMode;
pub use notifier::{FailedNotification, NotificationSource, Notified};
pub use options::{
    BackendKind, BackendOptions, Boot, Image, LinuxBoot, MAX_VCPUS, OnReset, UnclaimedAccessPolicy, VmOptions,
};
pub use sea::{
    MemoryFailurePolicy, NotifyGuest, RecoverablePolicy, Threshold, ThresholdAction, UncontainablePolicy,
};
pub use seawall_kvm::{HugePage, SystemEventKind};
pub use simulated::{AbortStep, Script, ScriptError, Step};
pub use statistics::{DecisionStats, VmStats};
pub use vcpu::{Answer, AnswerOutcome, Ask, FallbackReason};
pub use vm::{ClosedVm, ExitReason, Reply, Vm, VmExit, VmState, VmThread};
