//! Keeping everybody away from a lost page of guest RAM, by userfaultfd.
//!
//! The page's entry in this process's page table is replaced by a poison marker (`UFFDIO_POISON`, Linux 6.6). From then on
//! a vCPU's access to it ends in `SIGBUS` (`BUS_MCEERR_AR`) without touching the hardware, a system call that is given its
//! address gets `EFAULT` instead of crashing the host kernel, and our own copies stop at their fix-up. Its neighbours and
//! the memory slots stay as they are. The page itself is held by [`GuestMemory::hold`], so that the host cannot use it
//! again.

// UNSAFETY: changes the page table of guest RAM.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::abi::{
    UFFD_API, UFFD_FEATURE_POISON, UFFD_USER_MODE_ONLY, UFFDIO_API, UFFDIO_POISON, UFFDIO_REGISTER,
    UFFDIO_REGISTER_MODE_MISSING,
};
use crate::error::{Errno, KvmError};
use crate::guest_memory::GuestMemory;

/// How often a page that a vCPU maps again, between the two steps, is unmapped again. Each round the vCPU has to win a race
/// of a few instructions.
const ATTEMPTS: u32 = 1000;

/// `struct uffdio_api`.
#[repr(C)]
struct UffdioApi {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`; `struct uffdio_poison` has the same four words, the last being `updated`.
#[repr(C)]
struct UffdioRange {
    start: u64,
    len: u64,
    mode: u64,
    answer: i64,
}

const _: () = assert!(size_of::<UffdioApi>() == 24);
const _: () = assert!(size_of::<UffdioRange>() == 32);

/// A userfaultfd that can poison pages.
#[derive(Debug)]
pub struct Quarantine {
    uffd: OwnedFd,
}

impl Quarantine {
    /// Opens a userfaultfd and asks for `UFFDIO_POISON`.
    ///
    /// # Errors
    /// [`KvmError::Syscall`] where it is refused (`EPERM` in most containers) or too old (`EINVAL`).
    pub fn open() -> Result<Self, KvmError> {
        // SAFETY: the call takes flags alone.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_userfaultfd,
                libc::O_CLOEXEC | libc::O_NONBLOCK | UFFD_USER_MODE_ONLY,
            )
        };
        let fd = i32::try_from(fd).unwrap_or(-1);
        if fd < 0 {
            return Err(KvmError::last("userfaultfd"));
        }
        // SAFETY: the descriptor was just created and belongs to nobody else.
        let uffd = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut api = UffdioApi {
            api: UFFD_API,
            features: UFFD_FEATURE_POISON,
            ioctls: 0,
        };
        // SAFETY: the ioctl reads and writes exactly this structure.
        if unsafe { libc::ioctl(uffd.as_raw_fd(), UFFDIO_API as _, &raw mut api) } != 0 {
            return Err(KvmError::last("UFFDIO_API"));
        }
        Ok(Self { uffd })
    }

    /// Takes the page at `offset` of guest RAM, `len` bytes, away from everybody. It must be held before.
    ///
    /// A vCPU that touches the page meanwhile maps it again (`EEXIST`); it is unmapped again, a bounded number of times.
    ///
    /// # Errors
    /// [`KvmError::Syscall`]; the page may then be accessible still. `ENOMEM` also where the process has half of its mappings
    /// for lost pages.
    pub fn take(&self, memory: &GuestMemory, offset: u64, len: u64) -> Result<(), KvmError> {
        let start = memory.host_range(offset, len)?;
        memory.cut(offset)?;
        let mut register = UffdioRange {
            start,
            len,
            mode: UFFDIO_REGISTER_MODE_MISSING,
            answer: 0,
        };
        // SAFETY: the ioctl reads and writes exactly this structure; the range is inside the mapping of guest RAM, to which
        // no Rust reference exists, and its contents do not change.
        if unsafe { libc::ioctl(self.uffd.as_raw_fd(), UFFDIO_REGISTER as _, &raw mut register) } != 0 {
            return Err(KvmError::last("UFFDIO_REGISTER"));
        }
        for _ in 0..ATTEMPTS {
            memory.unmap(offset, len)?;
            let mut poison = UffdioRange {
                start,
                len,
                mode: 0,
                answer: 0,
            };
            // SAFETY: as above.
            if unsafe { libc::ioctl(self.uffd.as_raw_fd(), UFFDIO_POISON as _, &raw mut poison) } == 0 {
                return Ok(());
            }
            match Errno::last().0 {
                libc::EEXIST | libc::EAGAIN => {}
                errno => {
                    return Err(KvmError::Syscall {
                        syscall: "UFFDIO_POISON",
                        errno: Errno(errno),
                    });
                }
            }
        }
        Err(KvmError::Syscall {
            syscall: "UFFDIO_POISON",
            errno: Errno(libc::EEXIST),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest_memory::GuestMemoryError;

    const PAGE: u64 = 4096;

    fn memory() -> Option<(GuestMemory, Quarantine)> {
        let memory = GuestMemory::create(4 * 4096, None).expect("memory");
        memory.write(0, &[7; 4 * 4096]).expect("inside");
        match Quarantine::open() {
            Ok(quarantine) => Some((memory, quarantine)),
            Err(error) => {
                println!("SKIPPED quarantine: {error}");
                None
            }
        }
    }

    #[test]
    fn a_page_that_was_taken_cannot_be_read_or_written_and_its_neighbours_can() {
        let Some((memory, quarantine)) = memory() else {
            return;
        };
        quarantine.take(&memory, PAGE, PAGE).expect("taken");
        let mut byte = [0];
        // A kernel that knows no memory failures raises the signal with another code.
        let refused = |result| matches!(result, Err(GuestMemoryError::Inaccessible { offset: PAGE, .. }));
        for offset in [PAGE, 2 * PAGE - 1] {
            assert!(refused(memory.read(offset, &mut byte)));
            assert!(refused(memory.write(offset, &byte)));
        }
        for offset in [PAGE - 1, 2 * PAGE] {
            memory.read(offset, &mut byte).expect("a neighbour");
            assert_eq!(byte, [7]);
        }
    }

    #[test]
    fn a_system_call_that_is_given_the_page_gets_an_error() {
        let Some((memory, quarantine)) = memory() else {
            return;
        };
        quarantine.take(&memory, 0, PAGE).expect("taken");
        let mut pipe = [0; 2];
        // SAFETY: the array has room for two descriptors.
        assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
        let page =
            std::ptr::with_exposed_provenance(usize::try_from(memory.host_address()).expect("an address"));
        // SAFETY: the kernel checks the address itself.
        let written = unsafe { libc::write(pipe[1], page, 16) };
        assert_eq!((written, Errno::last().name()), (-1, Some("EFAULT")));
    }

    #[test]
    fn a_page_is_taken_again_and_a_second_one_too() {
        let Some((memory, quarantine)) = memory() else {
            return;
        };
        for offset in [0, 0, 2 * PAGE] {
            quarantine.take(&memory, offset, PAGE).expect("taken");
        }
        assert!(memory.read(2 * PAGE, &mut [0]).is_err());
    }

    #[test]
    fn what_is_no_page_of_guest_ram_is_refused() {
        let Some((memory, quarantine)) = memory() else {
            return;
        };
        for (offset, len) in [(1, PAGE), (0, 1), (4 * PAGE, PAGE), (u64::MAX - 4095, PAGE)] {
            let error = quarantine.take(&memory, offset, len).expect_err("refused");
            assert_eq!(error.errno(), Some(Errno(libc::EINVAL)), "{offset:#x} {len:#x}");
        }
    }
}
