//! One vCPU: the thread that owns it, and the box that others put their requests in.
//!
//! ```text
//!            run                       exit that parks, or a request
//! Parked ───────────> Running ───────────────────────────────────────> Parked
//!   │  commands are served here; while running nobody else touches the vCPU
//!   └── quit ──> the thread ends
//! ```

mod apply;
mod by_hand;
mod deferral;
mod guest_gate;
mod mailbox;
mod memory_failure;
mod patience;
mod question;
mod run_loop;
mod settling;
mod telling;
mod thread;

pub(crate) use deferral::SETTLED;
pub(crate) use guest_gate::{GuestGate, Stuck};
pub(crate) use mailbox::{VcpuCommand, Whereabouts};
pub(crate) use patience::Patience;
pub(crate) use question::Questions;
pub use question::{Answer, AnswerOutcome, Ask, FallbackReason};
pub(crate) use run_loop::{Decisions, ParkReason, RunContext};
pub(crate) use thread::{VcpuThread, spawn};
