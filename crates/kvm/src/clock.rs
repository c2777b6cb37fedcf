//! The host's monotonic clock.

// UNSAFETY: a system call.
#![allow(unsafe_code)]

use std::time::Duration;

/// Reads `CLOCK_MONOTONIC`: the clock of Node's `process.hrtime`, with the same origin.
#[must_use]
pub fn monotonic() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes the structure it is given.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    debug_assert_eq!(status, 0, "CLOCK_MONOTONIC exists on every system");
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
