//! The RAM of a guest: one file, mapped once, copied to and from by the guarded routine alone.

// UNSAFETY: maps memory.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use crate::backing::Backing;
use crate::error::KvmError;
use crate::exit::{MemoryErrorSignal, SignalCode};
use crate::guarded_copy::{Copied, Fault, guarded_copy};
use crate::sigbus;

/// The size of the pages that guest RAM is made of, where they are not the host's ordinary ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HugePage {
    /// 2 MiB.
    Size2M,
    /// 1 GiB.
    Size1G,
}

impl HugePage {
    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Size2M => 2 << 20,
            Self::Size1G => 1 << 30,
        }
    }
}

/// A shared memfd of guest RAM and its mapping. Offsets are in bytes from its start.
#[derive(Debug)]
pub struct GuestMemory {
    base: NonNull<u8>,
    len: usize,
    /// What the pages belong to, for as long as the guest: a lost one must not be freed and used again.
    backing: Backing,
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
        /// The first byte of the page.
        offset: u64,
        /// Why, where it is a memory error; absent where there is no memory behind the page.
        error: Option<MemoryErrorSignal>,
    },
    /// The process's handler of `SIGBUS` is not ours any more: a copy that met a memory error would never end.
    #[error("{}", KvmError::SignalHandler)]
    SignalHandler,
}

// SAFETY: the mapping is plain memory that any thread may copy to and from; it is unmapped only on drop.
unsafe impl Send for GuestMemory {}
// SAFETY: no reference into the mapping is ever made. Concurrent copies race with each other and with the guest, as
// hardware memory does, in assembly outside Rust's memory model.
unsafe impl Sync for GuestMemory {}

impl GuestMemory {
    /// Creates zeroed guest RAM of `len` bytes, a non-zero multiple of the host's page size, or of `huge_page`'s.
    ///
    /// # Errors
    /// [`KvmError::Syscall`], also where `len` is not such a multiple (`mmap` with `EINVAL`) and where the host has not
    /// enough huge pages set aside (`ENOMEM`); [`KvmError::SignalHandler`].
    pub fn create(len: usize, huge_page: Option<HugePage>) -> Result<Self, KvmError> {
        sigbus::install()?;
        sigbus::check()?;
        let backing = Backing::create(len, huge_page)?;
        let base = backing.map(len)?;
        Ok(Self { base, len, backing })
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

    #[cfg(target_os = "linux")]
    /// Removes whole pages from this process's page table, and so from the guest's. The memfd keeps them.
    pub(crate) fn unmap(&self, offset: u64, len: u64) -> Result<(), KvmError> {
        let start = self.host_range(offset, len)?;
        let address = std::ptr::with_exposed_provenance_mut(usize::try_from(start).unwrap_or(0));
        // SAFETY: the range is inside the mapping of this value, to which no Rust reference exists; the pages of a shared
        // mapping keep their contents.
        match unsafe { libc::madvise(address, usize::try_from(len).unwrap_or(0), libc::MADV_DONTNEED) } {
            0 => Ok(()),
            _ => Err(KvmError::last("madvise(MADV_DONTNEED)")),
        }
    }

    #[cfg(target_os = "linux")]
    /// Says that a lost page is to be a mapping of its own.
    pub(crate) fn cut(&self, offset: u64) -> Result<(), KvmError> {
        self.backing.cut(offset)
    }

    /// The size of the huge pages it is made of, if it is.
    #[must_use]
    pub fn huge_page(&self) -> Option<HugePage> {
        self.backing.huge_page()
    }

    /// Keeps a lost page in the host's memory until the guest's memory goes, so that nobody else gets it.
    ///
    /// # Errors
    /// [`KvmError::Syscall`], with `ENOMEM` where the process has half of its mappings for lost pages.
    pub fn hold(&self, offset: u64, len: u64) -> Result<(), KvmError> {
        self.host_range(offset, len)?;
        self.backing.hold(offset, len)
    }

    /// Puts fresh zeroed memory in the place of whole pages, for this process and, through its slots, for the guest. What
    /// was there stays held. Only memory of ordinary pages can be replaced in parts.
    ///
    /// # Errors
    /// [`KvmError::Syscall`], with `EINVAL` for memory of huge pages, and with `ENOMEM` where the process has half of its
    /// mappings for lost pages.
    pub fn replace(&self, offset: u64, len: u64) -> Result<(), KvmError> {
        self.host_range(offset, len)?;
        self.backing.replace(self.base, offset, len)
    }

    /// Takes every held page out of the host's use for ever (`MADV_HWPOISON`, CAP_SYS_ADMIN), until the time is over. Nobody
    /// may use the guest's memory any more. Says of each held page, by its offset, whether it was.
    pub fn offline_held(&self, is_over: impl Fn() -> bool) -> Vec<(u64, bool)> {
        self.backing.offline_held(is_over)
    }

    /// Looks whether the process's handler of `SIGBUS` is still ours, once for the few copies that follow at once: that is a
    /// system call. To be held for those alone. Somebody may replace the handler at any later time.
    ///
    /// # Errors
    /// [`GuestMemoryError::SignalHandler`].
    pub fn checked(&self) -> Result<CheckedMemory<'_>, GuestMemoryError> {
        sigbus::check().map_err(|_| GuestMemoryError::SignalHandler)?;
        Ok(CheckedMemory { memory: self })
    }

    /// Copies guest RAM at `offset` into `buffer`.
    ///
    /// # Errors
    /// [`GuestMemoryError`]; `buffer` then holds the bytes before the page that could not be read.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), GuestMemoryError> {
        self.checked()?.read(offset, buffer)
    }

    /// Copies `data` into guest RAM at `offset`.
    ///
    /// # Errors
    /// [`GuestMemoryError`]; the bytes before the page that could not be written are then written.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), GuestMemoryError> {
        self.checked()?.write(offset, data)
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

    /// What came of a copy of `len` bytes at `offset`.
    fn copied(&self, offset: u64, len: usize, copied: Copied) -> Result<(), GuestMemoryError> {
        copied.fault().map_or(Ok(()), |fault| {
            let reached = offset + (len - copied.left) as u64;
            Err(self.inaccessible(reached, fault))
        })
    }

    /// Why a copy that had reached an offset ended there.
    fn inaccessible(&self, reached: u64, fault: Fault) -> GuestMemoryError {
        let inside = fault.page.checked_sub(self.host_address());
        let inside = inside.filter(|offset| *offset < self.len as u64);
        let offset = inside.unwrap_or(reached - reached % HOST_PAGE);
        // A processor that does not know the address says 0. Any other is that of the buffer: no page of the guest is lost.
        let code = SignalCode::from_si_code(fault.code).filter(|_| inside.is_some() || fault.page == 0);
        let error = code.map(|code| MemoryErrorSignal {
            code,
            offset,
            lsb: 12,
        });
        GuestMemoryError::Inaccessible { offset, error }
    }
}

/// Guest RAM at a moment at which a memory error in it would have ended a copy and not the process: [`GuestMemory::checked`].
#[derive(Debug, Clone, Copy)]
pub struct CheckedMemory<'a> {
    memory: &'a GuestMemory,
}

impl CheckedMemory<'_> {
    /// The memory itself.
    #[must_use]
    pub const fn memory(&self) -> &GuestMemory {
        self.memory
    }

    /// Copies guest RAM at `offset` into `buffer`.
    ///
    /// # Errors
    /// [`GuestMemoryError`]; `buffer` then holds the bytes before the page that could not be read.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), GuestMemoryError> {
        let source = self.memory.place(offset, buffer.len())?;
        // SAFETY: `place` checked that the range lies inside the mapping; the destination is a Rust slice.
        let copied = unsafe { guarded_copy(buffer.as_mut_ptr(), source, buffer.len()) };
        self.memory.copied(offset, buffer.len(), copied)
    }

    /// Copies `data` into guest RAM at `offset`.
    ///
    /// # Errors
    /// [`GuestMemoryError`]; the bytes before the page that could not be written are then written.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), GuestMemoryError> {
        let destination = self.memory.place(offset, data.len())?;
        // SAFETY: `place` checked that the range lies inside the mapping; the source is a Rust slice.
        let copied = unsafe { guarded_copy(destination, data.as_ptr(), data.len()) };
        self.memory.copied(offset, data.len(), copied)
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
        let memory = GuestMemory::create(8192, None).expect("memory");
        memory.write(4090, b"across a page").expect("inside");
        let mut buffer = [0; 13];
        memory.read(4090, &mut buffer).expect("inside");
        assert_eq!(&buffer, b"across a page");
    }

    #[test]
    fn ranges_outside_are_refused_without_overflow() {
        let memory = GuestMemory::create(4096, None).expect("memory");
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
            let error = GuestMemory::create(len, None).expect_err("no such memory");
            assert!(error.errno().is_some(), "{error}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_error_elsewhere_is_no_error_of_the_first_page() {
        let memory = GuestMemory::create(16384, None).expect("memory");
        let code = libc::BUS_OBJERR;
        for (page, offset, known) in [
            (memory.host_address() + 8192, 8192, true),
            // FAR_EL1 is not valid: what is lost is where the copy had come to.
            (0, 4096, true),
            (memory.host_address() - 4096, 4096, false),
            (memory.host_address() + 16384, 4096, false),
        ] {
            let GuestMemoryError::Inaccessible { offset: found, error } =
                memory.inaccessible(4100, Fault { page, code })
            else {
                panic!("{page:#x}")
            };
            assert_eq!((found, error.is_some()), (offset, known), "{page:#x}");
            assert!(error.is_none_or(|error| error.offset == offset));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_replaced_page_is_zero_and_is_held_itself_when_it_is_lost_again() {
        let memory = GuestMemory::create(16384, None).expect("memory");
        memory.write(4096, &[7; 4096]).expect("inside");
        memory.hold(4096, 4096).expect("held");
        memory.replace(4096, 4096).expect("replaced");
        let mut page = [1; 4096];
        memory.read(4096, &mut page).expect("fresh");
        assert_eq!(page, [0; 4096]);
        memory.write(0, &[9; 16384]).expect("all of it is memory");
        let mappings = |file: &str| {
            let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
            // Of other tests' memory, too: they replace nothing.
            maps.lines().filter(|line| line.contains(file)).count()
        };
        assert_eq!(mappings("seawall-replacement"), 1);
        memory.hold(4096, 4096).expect("held");
        assert_eq!(mappings("seawall-replacement"), 2, "what was lost this time");
        drop(memory);
        assert_eq!(mappings("seawall-replacement"), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_held_page_has_memory_behind_it() {
        let memory = GuestMemory::create(16384, None).expect("memory");
        memory.hold(8192, 4096).expect("held");
        let page = std::ptr::with_exposed_provenance_mut(
            usize::try_from(memory.host_address()).expect("an address") + 8192,
        );
        let mut present = [0u8; 2];
        // SAFETY: the range is mapped, and the answer has a byte for each of its pages.
        let status = unsafe { libc::mincore(page, 8192, present.as_mut_ptr()) };
        assert_eq!(status, 0);
        assert_eq!(present.map(|byte| byte & 1), [1, 0], "that page, and no other");
    }
}
