//! Memory errors, from the fault to the plan of an injection. Values in, values out: nothing here knows of the kernel.
//!
//! ```text
//! SeaFault ── Ledger::record ──> PageHit ── decide(fault, page, policy) ──> Verdict ── plan(fault) ──> InjectionPlan
//! ```

mod fault;
mod injection;
mod ledger;
mod policy;

pub use fault::{Consumer, ConsumerMode, FailureSource, SeaFault};
pub use injection::{Fidelity, InjectionPlan, plan};
pub use ledger::{Ledger, LedgerTotals, PageHit, PageState, PoisonedPage};
pub use policy::{
    FailureAction, MemoryFailurePolicy, RecoverablePolicy, Severity, UncontainablePolicy, Verdict,
    VerdictReason, decide,
};
