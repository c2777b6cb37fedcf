//! How many mappings the lost pages of this process may have.
//!
//! The kernel gives a process `vm.max_map_count` of them. One that has none left gets no memory and starts no thread: it ends,
//! with all of its guests. So lost pages leave half of them to everything else.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Errno, KvmError};

/// Of the kernel, where it does not say (`DEFAULT_MAX_MAP_COUNT`, linux/mm.h).
const DEFAULT: usize = 65_530;

/// How many are set aside at the moment, for the lost pages of all guests.
static SET_ASIDE: AtomicUsize = AtomicUsize::new(0);

fn limit() -> usize {
    static LIMIT: OnceLock<usize> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let most = std::fs::read_to_string("/proc/sys/vm/max_map_count");
        most.ok()
            .and_then(|most| most.trim().parse().ok())
            .unwrap_or(DEFAULT)
            / 2
    })
}

/// Mappings that are set aside until this is dropped.
#[derive(Debug)]
pub(crate) struct Mappings(usize);

impl Mappings {
    /// Sets so many aside.
    ///
    /// # Errors
    /// `ENOMEM` of `mmap`, as the kernel says it of the last one, where lost pages would have more than half.
    pub(crate) fn set_aside(count: usize) -> Result<Self, KvmError> {
        let limit = limit();
        let more = |set_aside: usize| set_aside.checked_add(count).filter(|all| *all <= limit);
        SET_ASIDE
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .map(|_| Self(count))
            .map_err(|_| KvmError::Syscall {
                syscall: "mmap",
                errno: Errno(libc::ENOMEM),
            })
    }
}

impl Drop for Mappings {
    fn drop(&mut self) {
        SET_ASIDE.fetch_sub(self.0, Ordering::Relaxed);
    }
}
