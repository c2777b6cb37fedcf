//! Guest memory where there is no Linux: for the simulator, which loses no page for real.
//!
//! The names are those of the Linux modules, so that nothing else has to know.

// UNSAFETY: copies through raw pointers.
#![allow(unsafe_code)]

/// What guest RAM is made of.
pub(crate) mod backing {
    use std::ptr::{self, NonNull};

    use crate::error::KvmError;
    use crate::guest_memory::HugePage;

    /// Memory of this process alone.
    #[derive(Debug)]
    pub(crate) struct Backing(Option<HugePage>);

    impl Backing {
        /// Makes nothing yet: the memory comes with its mapping.
        pub(crate) const fn create(_: usize, huge_page: Option<HugePage>) -> Result<Self, KvmError> {
            Ok(Self(huge_page))
        }

        /// What was asked for: it makes no difference here.
        pub(crate) const fn huge_page(&self) -> Option<HugePage> {
            self.0
        }

        /// Holds nothing: no page of this memory is lost for real.
        pub(crate) const fn hold(&self, _: u64, _: u64) -> Result<(), KvmError> {
            Ok(())
        }

        /// Replaces nothing.
        pub(crate) const fn replace(&self, _: NonNull<u8>, _: u64, _: u64) -> Result<(), KvmError> {
            Ok(())
        }

        /// Nothing is held.
        pub(crate) fn offline_held(&self, _: impl Fn() -> bool) -> Vec<(u64, bool)> {
            Vec::new()
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
    /// How far a copy came.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Copied {
        /// How many bytes were not copied.
        pub(crate) left: usize,
    }

    /// What no copy here ends with.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Fault {
        pub(crate) page: u64,
        pub(crate) code: i32,
    }

    impl Copied {
        pub(crate) const fn fault(self) -> Option<Fault> {
            None
        }
    }

    /// Copies `len` bytes. No page of this memory can be lost, so nothing is ever left.
    ///
    /// # Safety
    /// `source` must be valid for reads and `destination` for writes over `len` bytes.
    pub(crate) unsafe fn guarded_copy(destination: *mut u8, source: *const u8, len: usize) -> Copied {
        // SAFETY: the caller vouches for both ranges; `copy` allows them to overlap.
        unsafe { core::ptr::copy(source, destination, len) };
        Copied { left: 0 }
    }
}

/// Errors that the host finds by itself, of which nobody tells us here.
pub(crate) mod action_optional {
    use crate::error::KvmError;
    use crate::exit::MemoryErrorSignal;
    use crate::guest_memory::GuestMemory;

    /// Guest RAM that nobody watches.
    #[derive(Debug)]
    pub struct MemoryErrorWatch;

    impl MemoryErrorWatch {
        /// Watches nothing.
        ///
        /// # Errors
        /// None.
        pub fn new(
            _: &GuestMemory,
            _: impl Fn(MemoryErrorSignal) + Send + Sync + 'static,
        ) -> Result<Self, KvmError> {
            Ok(Self)
        }
    }
}

/// The handler of `SIGBUS`, which nothing here raises.
pub(crate) mod sigbus {
    use crate::error::KvmError;

    /// Installs nothing.
    pub(crate) const fn install() -> Result<(), KvmError> {
        Ok(())
    }

    /// Nobody can replace what is not there.
    pub(crate) const fn check() -> Result<(), KvmError> {
        Ok(())
    }
}
