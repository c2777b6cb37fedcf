//! Our exception entries against the kernel's own, on real KVM: random vCPUs, bit by bit.
//!
//! It needs an arm64 KVM that commits an injection at once; elsewhere one line starting with `SKIPPED` says so.
//! `SEAWALL_SEED` repeats a run, `SEAWALL_CASES` makes it longer or shorter.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, also in its helpers"
)]

mod difference;
mod entry_by_registers;
mod fetch;
#[path = "../vm/harness.rs"]
#[allow(dead_code, reason = "the other virtual machines need all of it")]
mod harness;
mod host;
mod injection_by_registers;
mod instruction_abort;
mod pair;
mod random;
mod registers;
mod vcpu;
