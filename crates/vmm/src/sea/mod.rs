//! Memory errors, from the fault to the plan of an injection. Values in, values out: nothing here knows of the kernel.
//!
//! ```text
//! MemoryError ── Ledger::record ──> PageHit ── decide(error, history, policy) ──> Verdict ── plan ──> InjectionPlan
//! ```

mod decision;
mod injection;
mod ledger;
mod memory_error;
mod poisoned_page;
mod policy;

pub use decision::Decision;
pub use injection::{AbortRequest, Access, BARE_DATA_ABORT, Fidelity, InjectionPlan, plan, plan_request};
pub use ledger::{Ledger, LedgerTotals};
pub use memory_error::{Consumer, ConsumerMode, ErrorReport, FailureSource, MemoryError, SignalCode};
pub use poisoned_page::{Granule, PageHit, PageState, PoisonedPage};
pub use policy::{
    FailureAction, History, MemoryFailurePolicy, NotifyGuest, RecoverablePolicy, Severity, Threshold,
    ThresholdAction, UncontainablePolicy, Verdict, VerdictReason, decide, severity,
};
