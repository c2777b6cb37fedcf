//! The RAM of a guest: one memfd, mapped once, copied to and from by the guarded routine alone.

// UNSAFETY: maps memory.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::{Mutex, PoisonError};

use crate::error::KvmError;
use crate::guarded_copy::guarded_copy;
use crate::sigbus;

/// A shared memfd of guest RAM and its mapping. Offsets are in bytes from its start.
#[derive(Debug)]
pub struct GuestMemory {
    base: NonNull<u8>,
    len: usize,
    /// Held for as long as the guest: it is what keeps a lost page from being freed and used again.
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

/// The smallest page of an arm64 host, which every larger one is a multiple of.
const HOST_PAGE: u64 = 4096;

/// An access to guest RAM that did not happen, or only in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GuestMemoryError {
    /// The range is not inside guest RAM.
    #[error("{len} bytes at offset {offset:#x} do not lie inside {size:#x} bytes of guest RAM")]
    OutOfRange {
        /// Where the access starts.
        offset: u64,
        /// Its length in bytes.
        len: usize,
        /// The size of guest RAM in bytes.
        size: usize,
    },
    /// The host raised `SIGBUS`: the page at `offset` is lost or has no memory behind it.
    #[error("the page at offset {offset:#x} of guest RAM cannot be accessed")]
    Inaccessible {
        /// The first byte that could not be copied.
        offset: u64,
    },
}

// SAFETY: the mapping is plain memory that any thread may copy to and from; it is unmapped only on drop.
unsafe impl Send for GuestMemory {}
// SAFETY: no reference into the mapping is ever made. Concurrent copies race with each other and with the guest, as
// hardware memory does, in assembly outside Rust's memory model.
unsafe impl Sync for GuestMemory {}

impl GuestMemory {
    /// Creates zeroed guest RAM of `len` bytes, a non-zero multiple of the host's page size.
    ///
    /// # Errors
    /// [`KvmError::Syscall`], also where `len` is not such a multiple (`mmap` with `EINVAL`).
    pub fn create(len: usize) -> Result<Self, KvmError> {
        sigbus::install()?;
        let size = libc::off_t::try_from(len).map_err(|_| KvmError::Syscall {
            syscall: "ftruncate",
            errno: crate::Errno(libc::EFBIG),
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
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh mapping at an address the kernel chooses.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                access,
                libc::MAP_SHARED,
                memfd.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(KvmError::last("mmap"));
        }
        let base = NonNull::new(address.cast()).ok_or(KvmError::last("mmap"))?;
        let memory = Self {
            base,
            len,
            memfd,
            held: Mutex::default(),
        };
        // A core dump or a forked child must not read poisoned pages.
        memory.advise(libc::MADV_DONTDUMP, "madvise(MADV_DONTDUMP)")?;
        memory.advise(libc::MADV_DONTFORK, "madvise(MADV_DONTFORK)")?;
        Ok(memory)
    }

    fn advise(&self, advice: i32, syscall: &'static str) -> Result<(), KvmError> {
        // SAFETY: the range is the mapping of this value; neither advice changes its contents.
        match unsafe { libc::madvise(self.base.as_ptr().cast(), self.len, advice) } {
            0 => Ok(()),
            _ => Err(KvmError::last(syscall)),
        }
    }

    /// The size in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no memory; never true for memory that was created.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address of the mapping in this process, for the kernel's memory slots.
    #[must_use]
    pub fn host_address(&self) -> u64 {
        self.base.as_ptr().expose_provenance() as u64
    }

    /// The address of whole pages of guest RAM in this process.
    pub(crate) fn host_range(&self, offset: u64, len: u64) -> Result<u64, KvmError> {
        let refused = KvmError::Syscall {
            syscall: "madvise",
            errno: crate::Errno(libc::EINVAL),
        };
        let pages = offset.is_multiple_of(HOST_PAGE) && len.is_multiple_of(HOST_PAGE) && len > 0;
        let end = offset
            .checked_add(len)
            .filter(|end| pages && *end <= self.len as u64);
        end.map(|_| self.host_address() + offset).ok_or(refused)
    }

    /// Removes whole pages from this process's page table, and so from the guest's. The memfd keeps them.
    pub(crate) fn unmap(&self, offset: u64, len: u64) -> Result<(), KvmError> {
        let start = self.host_range(offset, len)?;
        let address = ptr::with_exposed_provenance_mut(usize::try_from(start).unwrap_or(0));
        // SAFETY: the range is inside the mapping of this value, to which no Rust reference exists; the pages of a shared
        // mapping keep their contents.
        match unsafe { libc::madvise(address, usize::try_from(len).unwrap_or(0), libc::MADV_DONTNEED) } {
            0 => Ok(()),
            _ => Err(KvmError::last("madvise(MADV_DONTNEED)")),
        }
    }

    /// Keeps a lost page in the host's memory until the guest's memory goes. Where the process may lock no more memory the
    /// memfd alone keeps it: the host then may still swap or move it.
    pub(crate) fn hold(&self, offset: u64, len: u64) -> Result<(), KvmError> {
        self.host_range(offset, len)?;
        let refused = |_| KvmError::Syscall {
            syscall: "mmap",
            errno: crate::Errno(libc::EINVAL),
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

    /// Copies guest RAM at `offset` into `buffer`.
    ///
    /// # Errors
    /// [`GuestMemoryError`]; `buffer` then holds the bytes before the one that could not be read.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), GuestMemoryError> {
        let source = self.place(offset, buffer.len())?;
        // SAFETY: `place` checked that the range lies inside the mapping; the destination is a Rust slice.
        let left = unsafe { guarded_copy(buffer.as_mut_ptr(), source, buffer.len()) };
        Self::copied(offset, buffer.len(), left)
    }

    /// Copies `data` into guest RAM at `offset`.
    ///
    /// # Errors
    /// [`GuestMemoryError`]; the bytes before the one that could not be written are then written.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), GuestMemoryError> {
        let destination = self.place(offset, data.len())?;
        // SAFETY: `place` checked that the range lies inside the mapping; the source is a Rust slice.
        let left = unsafe { guarded_copy(destination, data.as_ptr(), data.len()) };
        Self::copied(offset, data.len(), left)
    }

    fn place(&self, offset: u64, len: usize) -> Result<*mut u8, GuestMemoryError> {
        let out_of_range = GuestMemoryError::OutOfRange {
            offset,
            len,
            size: self.len,
        };
        let start = usize::try_from(offset).map_err(|_| out_of_range)?;
        match start.checked_add(len) {
            // SAFETY: `start` lies inside the mapping or one past its end.
            Some(end) if end <= self.len => Ok(unsafe { self.base.as_ptr().add(start) }),
            _ => Err(out_of_range),
        }
    }

    fn copied(offset: u64, len: usize, left: usize) -> Result<(), GuestMemoryError> {
        if left == 0 {
            Ok(())
        } else {
            Err(GuestMemoryError::Inaccessible {
                offset: offset + (len - left) as u64,
            })
        }
    }
}

impl Drop for GuestMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping belongs to this value and no VM uses it any more: whoever gives it to the kernel keeps
        // this value alive for longer than the VM's file descriptors.
        let status = unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert_eq!(status, 0, "munmap of a mapping of ours cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let memory = GuestMemory::create(8192).expect("memory");
        memory.write(4090, b"across a page").expect("inside");
        let mut buffer = [0; 13];
        memory.read(4090, &mut buffer).expect("inside");
        assert_eq!(&buffer, b"across a page");
    }

    #[test]
    fn ranges_outside_are_refused_without_overflow() {
        let memory = GuestMemory::create(4096).expect("memory");
        for (offset, len) in [(4096, 1), (4095, 2), (u64::MAX, 1), (1 << 40, 1)] {
            let error = memory.read(offset, &mut vec![0; len]);
            assert_eq!(
                error,
                Err(GuestMemoryError::OutOfRange {
                    offset,
                    len,
                    size: 4096
                })
            );
        }
        assert_eq!(
            memory.read(4096, &mut []),
            Ok(()),
            "an empty range at the end is inside"
        );
    }

    #[test]
    fn a_size_of_zero_or_a_huge_one_is_an_error() {
        for len in [0, usize::MAX & !4095] {
            let error = GuestMemory::create(len).expect_err("no such memory");
            assert!(error.errno().is_some(), "{error}");
        }
    }
}
