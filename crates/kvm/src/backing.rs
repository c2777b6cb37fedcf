//! What guest RAM is made of: a sealed memfd.

// UNSAFETY: makes and maps a file.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::{Mutex, PoisonError};

use crate::error::{Errno, KvmError};

/// A shared memfd that nobody can shorten.
#[derive(Debug)]
pub(crate) struct Backing {
    memfd: OwnedFd,
    /// Lost pages, each mapped a second time and locked, so that the host neither swaps nor moves them.
    held: Mutex<Vec<HeldPage>>,
}

/// A second mapping of a lost page, which nothing dereferences.
#[derive(Debug)]
struct HeldPage {
    base: NonNull<libc::c_void>,
    len: usize,
}

// SAFETY: the address is only ever given back to munmap, by whoever drops the value.
unsafe impl Send for HeldPage {}

impl Drop for HeldPage {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `GuestMemory::hold` with this length, and nothing points into it.
        let status = unsafe { libc::munmap(self.base.as_ptr(), self.len) };
        debug_assert_eq!(status, 0, "munmap of a mapping of ours cannot fail");
    }
}

impl Backing {
    /// Makes a file of `len` zero bytes.
    pub(crate) fn create(len: usize) -> Result<Self, KvmError> {
        let size = libc::off_t::try_from(len).map_err(|_| KvmError::Syscall {
            syscall: "ftruncate",
            errno: Errno(libc::EFBIG),
        })?;
        // SAFETY: the name is a C string.
        let fd = unsafe {
            libc::memfd_create(
                c"seawall-guest".as_ptr(),
                libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING,
            )
        };
        if fd < 0 {
            return Err(KvmError::last("memfd_create"));
        }
        // SAFETY: the descriptor was just created and belongs to nobody else.
        let memfd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: the descriptor is open.
        if unsafe { libc::ftruncate(fd, size) } != 0 {
            return Err(KvmError::last("ftruncate"));
        }
        // Nobody may shorten the file under the guest: that would turn its pages into SIGBUS.
        // SAFETY: the descriptor is open and was created with sealing allowed.
        if unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK | libc::F_SEAL_GROW) } != 0 {
            return Err(KvmError::last("fcntl(F_ADD_SEALS)"));
        }
        Ok(Self {
            memfd,
            held: Mutex::default(),
        })
    }

    /// Maps the first `len` bytes for reads and writes. Whoever asked unmaps them.
    pub(crate) fn map(&self, len: usize) -> Result<NonNull<u8>, KvmError> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let file = self.memfd.as_raw_fd();
        // SAFETY: a fresh mapping at an address the kernel chooses.
        let address = unsafe { libc::mmap(ptr::null_mut(), len, access, libc::MAP_SHARED, file, 0) };
        if address == libc::MAP_FAILED {
            return Err(KvmError::last("mmap"));
        }
        // A core dump or a forked child must not read poisoned pages.
        for advice in [libc::MADV_DONTDUMP, libc::MADV_DONTFORK] {
            // SAFETY: the range is the mapping just made; neither advice changes its contents.
            if unsafe { libc::madvise(address, len, advice) } != 0 {
                return Err(KvmError::last("madvise"));
            }
        }
        NonNull::new(address.cast()).ok_or(KvmError::last("mmap"))
    }

    /// Keeps a lost page in the host's memory until the guest's memory goes. Where the process may lock no more memory the
    /// memfd alone keeps it: the host then may still swap or move it.
    pub(crate) fn hold(&self, offset: u64, len: u64) -> Result<(), KvmError> {
        let refused = |_| KvmError::Syscall {
            syscall: "mmap",
            errno: Errno(libc::EINVAL),
        };
        let (len, offset) = (
            usize::try_from(len).map_err(refused)?,
            libc::off_t::try_from(offset).map_err(refused)?,
        );
        let (access, kind, file) = (libc::PROT_READ, libc::MAP_SHARED, self.memfd.as_raw_fd());
        // SAFETY: a fresh mapping at an address the kernel chooses.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, access, kind, file, offset) };
        if base == libc::MAP_FAILED {
            return Err(KvmError::last("mmap"));
        }
        let held = HeldPage {
            base: NonNull::new(base).ok_or(KvmError::last("mmap"))?,
            len,
        };
        for advice in [libc::MADV_DONTDUMP, libc::MADV_DONTFORK] {
            // SAFETY: the range is the mapping just made; neither advice changes its contents.
            if unsafe { libc::madvise(base, len, advice) } != 0 {
                return Err(KvmError::last("madvise"));
            }
        }
        // SAFETY: locking reads no byte of the page; where it is refused the page stays as it was.
        unsafe { libc::mlock(base, len) };
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(held);
        Ok(())
    }
}
