//! A virtual machine through its public interface, over the simulated backend.
#![expect(
    clippy::expect_used,
    reason = "a test fails by panicking, also in its helpers"
)]

mod capability;
mod console;
mod create;
mod decisions;
mod events;
mod failures;
mod harness;
mod injection;
mod lifetime;
mod memory_errors;
mod restart;
mod several_vcpus;
mod states;
mod unclaimed_access;
