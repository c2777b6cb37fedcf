//! `KVM_SET_VCPU_EVENTS` and the exits around it at their edges, on real KVM: where Seawall's own calls never go, and what
//! the way it injects is built on.
//!
//! It needs an arm64 KVM; elsewhere one line starting with `SKIPPED` says so.
#![expect(
    clippy::expect_used,
    reason = "a test fails by panicking, also in its helpers"
)]

#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
mod exits;
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
mod raw_events;
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
mod raw_vcpu;

use std::io::Write as _;

/// A line past the capture of the test's output. The lab has everything that a test here needs.
fn skip(reason: &str) {
    assert!(std::env::var_os("SEAWALL_HOST").is_none(), "the lab: {reason}");
    writeln!(std::io::stdout(), "\nSKIPPED vcpu_events: {reason}").expect("somebody reads");
}

#[cfg(not(all(target_os = "linux", target_arch = "aarch64")))]
#[test]
fn the_kernels_own_answers_are_known() {
    skip("needs an arm64 KVM");
}
