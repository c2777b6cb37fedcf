//! Guest memory where there is no Linux: for the simulator, which loses no page for real.
//!
//! The names are those of the Linux modules, so that nothing else has to know.

// UNSAFETY: copies through raw pointers.
#![allow(unsafe_code)]

/// What guest RAM is made of.
pub(crate) mod backing {
    use std::ptr::{self, NonNull};

    use crate::error::KvmError;

    /// Memory of this process alone.
    #[derive(Debug)]
    pub(crate) struct Backing;

    impl Backing {
        /// Makes nothing yet: the memory comes with its mapping.
        pub(crate) const fn create(_: usize) -> Result<Self, KvmError> {
            Ok(Self)
        }

        /// Maps `len` zero bytes for reads and writes. Whoever asked unmaps them.
        pub(crate) fn map(&self, len: usize) -> Result<NonNull<u8>, KvmError> {
            let (access, kind) = (
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANON,
            );
            // SAFETY: a fresh mapping at an address the kernel chooses.
            let address = unsafe { libc::mmap(ptr::null_mut(), len, access, kind, -1, 0) };
            if address == libc::MAP_FAILED {
                return Err(KvmError::last("mmap"));
            }
            NonNull::new(address.cast()).ok_or(KvmError::last("mmap"))
        }
    }
}

/// Copies to and from guest RAM.
pub(crate) mod guarded_copy {
    /// Copies `len` bytes. No page of this memory can be lost, so nothing is ever left: 0.
    ///
    /// # Safety
    /// `source` must be valid for reads and `destination` for writes over `len` bytes.
    pub(crate) unsafe fn guarded_copy(destination: *mut u8, source: *const u8, len: usize) -> usize {
        // SAFETY: the caller vouches for both ranges; `copy` allows them to overlap.
        unsafe { core::ptr::copy(source, destination, len) };
        0
    }
}

/// The handler of `SIGBUS`, which nothing here raises.
pub(crate) mod sigbus {
    use crate::error::KvmError;

    /// Installs nothing.
    pub(crate) const fn install() -> Result<(), KvmError> {
        Ok(())
    }
}
