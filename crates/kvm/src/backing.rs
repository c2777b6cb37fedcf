//! What guest RAM is made of: a sealed memfd, the memory that replaced lost pages, and the lost pages themselves.

// UNSAFETY: makes and maps files.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Errno, KvmError};
use crate::guest_memory::HugePage;
use crate::mappings::Mappings;
use crate::sigbus::RunSlot;

/// A shared memfd that nobody can shorten.
#[derive(Debug)]
pub(crate) struct Backing {
    memfd: OwnedFd,
    huge_page: Option<HugePage>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Lost pages, each mapped a second time and locked, so that the host neither swaps nor moves them.
    held: Vec<HeldPage>,
    /// The offsets of lost pages that are mappings of their own in guest RAM: there is one more on each side.
    cut: BTreeMap<u64, Mappings>,
    /// Where the memory that replaced lost pages comes from: a file of its own, which grows.
    replacements: Option<Replacements>,
}

#[derive(Debug)]
struct Replacements {
    memfd: OwnedFd,
    len: u64,
    /// What replaced what, by offset in guest RAM: the length, and the offset in the file.
    pages: BTreeMap<u64, (u64, u64)>,
}

/// A second mapping of a lost page, which nothing dereferences.
#[derive(Debug)]
struct HeldPage {
    /// Its offset in guest RAM.
    offset: u64,
    base: NonNull<libc::c_void>,
    /// The length of the mapping: that of a whole huge page where the memory is made of those.
    mapped: usize,
    /// Where the lost bytes start in it.
    start: usize,
    len: usize,
    /// Its own.
    _mappings: Mappings,
}

// SAFETY: the address is only ever given back to munmap and madvise, by whoever owns the value.
unsafe impl Send for HeldPage {}

impl Drop for HeldPage {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `Backing::hold` with this length, and nothing points into it.
        let status = unsafe { libc::munmap(self.base.as_ptr(), self.mapped) };
        debug_assert_eq!(status, 0, "munmap of a mapping of ours cannot fail");
    }
}

impl HeldPage {
    /// Takes the page out of the host's use for ever. Needs CAP_SYS_ADMIN.
    fn offline(&self) -> Result<(), KvmError> {
        let lost = self.base.as_ptr().wrapping_byte_add(self.start);
        // The kernel tells the calling thread by a SIGBUS that must not end the process. It names any mapping of the page:
        // the guest's own, too, where the page is out of reach by a hole in the memory slots.
        let slot = RunSlot::claim(0, u64::MAX);
        slot.enter();
        // SAFETY: the range lies inside a mapping of ours that nothing dereferences.
        let status = unsafe { libc::madvise(lost, self.len, libc::MADV_HWPOISON) };
        let errno = Errno::last();
        slot.leave();
        match (status, errno.0) {
            // The host has taken it out of use already.
            (0, _) | (_, libc::EHWPOISON) => Ok(()),
            _ => Err(KvmError::Syscall {
                syscall: "madvise(MADV_HWPOISON)",
                errno,
            }),
        }
    }
}

impl Backing {
    /// Makes a file of `len` zero bytes.
    pub(crate) fn create(len: usize, huge_page: Option<HugePage>) -> Result<Self, KvmError> {
        let flags = match huge_page {
            None => 0,
            Some(HugePage::Size2M) => libc::MFD_HUGETLB | libc::MFD_HUGE_2MB,
            Some(HugePage::Size1G) => libc::MFD_HUGETLB | libc::MFD_HUGE_1GB,
        };
        let memfd = create_memfd(c"seawall-guest", flags)?;
        resize(&memfd, len as u64)?;
        // Nobody may shorten the file under the guest: that would turn its pages into SIGBUS.
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;
        // SAFETY: the descriptor is open and was created with sealing allowed.
        if unsafe { libc::fcntl(memfd.as_raw_fd(), libc::F_ADD_SEALS, seals) } != 0 {
            return Err(KvmError::last("fcntl(F_ADD_SEALS)"));
        }
        Ok(Self {
            memfd,
            huge_page,
            state: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The size of the memory's huge pages, where it is made of them.
    pub(crate) const fn huge_page(&self) -> Option<HugePage> {
        self.huge_page
    }

    /// Maps the first `len` bytes for reads and writes. Whoever asked unmaps them.
    pub(crate) fn map(&self, len: usize) -> Result<NonNull<u8>, KvmError> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let base = map_file(Place::Anywhere, &self.memfd, 0, len, access)?;
        Ok(base.cast())
    }

    /// Keeps lost bytes in the host's memory until the guest's memory goes. Where the process may lock no more memory the
    /// file alone keeps them: the host then may still swap or move them.
    pub(crate) fn hold(&self, offset: u64, len: u64) -> Result<(), KvmError> {
        let mut state = self.lock();
        let replaced = state
            .replacements
            .as_ref()
            .and_then(|replacements| Some((&replacements.memfd, *replacements.pages.get(&offset)?)));
        let (memfd, file_offset) = match replaced {
            Some((memfd, (_, file_offset))) => (memfd, file_offset),
            None => (&self.memfd, offset),
        };
        // Of a file of huge pages only whole ones can be mapped.
        let unit = match (replaced, self.huge_page) {
            (None, Some(huge_page)) => huge_page.bytes(),
            _ => 1,
        };
        let first = file_offset - file_offset % unit;
        let mapped = to_usize((file_offset - first + len).next_multiple_of(unit))?;
        // A page that nobody used before gets memory here, where the process may lock none. Without, an access while a
        // userfaultfd has it and the poison is not there yet ends KVM_RUN with EFAULT, which does not say where.
        let mappings = Mappings::set_aside(1)?;
        let base = map_file(Place::Populated, memfd, first, mapped, libc::PROT_READ)?;
        let held = HeldPage {
            offset,
            base,
            mapped,
            start: to_usize(file_offset - first)?,
            len: to_usize(len)?,
            _mappings: mappings,
        };
        if self.huge_page.is_none() {
            // SAFETY: locking reads no byte of the page; where it is refused the page stays as it was.
            unsafe { libc::mlock(base.as_ptr(), mapped) };
        }
        state.held.push(held);
        Ok(())
    }

    /// Sets the mappings aside that it takes to make the page at `offset` one of its own in guest RAM, once.
    pub(crate) fn cut(&self, offset: u64) -> Result<(), KvmError> {
        if let Entry::Vacant(vacant) = self.lock().cut.entry(offset) {
            vacant.insert(Mappings::set_aside(2)?);
        }
        Ok(())
    }

    /// Maps fresh zeroed memory over `len` bytes at `offset` of the mapping at `base`. What was there is still held by its
    /// file.
    pub(crate) fn replace(&self, base: NonNull<u8>, offset: u64, len: u64) -> Result<(), KvmError> {
        if self.huge_page.is_some() {
            return Err(KvmError::Syscall {
                syscall: "mmap(MAP_FIXED)",
                errno: Errno(libc::EINVAL),
            });
        }
        self.cut(offset)?;
        let mut state = self.lock();
        if state.replacements.is_none() {
            state.replacements = Some(Replacements {
                memfd: create_memfd(c"seawall-replacement", 0)?,
                len: 0,
                pages: BTreeMap::new(),
            });
        }
        let Some(replacements) = &mut state.replacements else {
            return Ok(());
        };
        let file_offset = replacements.len;
        resize(&replacements.memfd, file_offset + len)?;
        replacements.len = file_offset + len;
        let place = Place::Over(base.as_ptr().wrapping_byte_add(to_usize(offset)?));
        let access = libc::PROT_READ | libc::PROT_WRITE;
        map_file(place, &replacements.memfd, file_offset, to_usize(len)?, access)?;
        replacements.pages.insert(offset, (len, file_offset));
        Ok(())
    }

    /// Takes every held page out of the host's use for ever, until the time is over. Says of each, by its offset in guest
    /// RAM, whether it was.
    pub(crate) fn offline_held(&self, is_over: impl Fn() -> bool) -> Vec<(u64, bool)> {
        let state = self.lock();
        let offline = |held: &HeldPage| (held.offset, !is_over() && held.offline().is_ok());
        state.held.iter().map(offline).collect()
    }
}

fn to_usize(number: u64) -> Result<usize, KvmError> {
    usize::try_from(number).map_err(|_| KvmError::Syscall {
        syscall: "mmap",
        errno: Errno(libc::EINVAL),
    })
}

fn create_memfd(name: &std::ffi::CStr, flags: libc::c_uint) -> Result<OwnedFd, KvmError> {
    // SAFETY: the name is a C string.
    let fd =
        unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | flags) };
    if fd < 0 {
        return Err(KvmError::last("memfd_create"));
    }
    // SAFETY: the descriptor was just created and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn resize(memfd: &OwnedFd, len: u64) -> Result<(), KvmError> {
    let size = libc::off_t::try_from(len).map_err(|_| KvmError::Syscall {
        syscall: "ftruncate",
        errno: Errno(libc::EFBIG),
    })?;
    // SAFETY: the descriptor is open.
    match unsafe { libc::ftruncate(memfd.as_raw_fd(), size) } {
        0 => Ok(()),
        _ => Err(KvmError::last("ftruncate")),
    }
}

/// Where a file is mapped.
enum Place {
    /// Where the kernel likes.
    Anywhere,
    /// The same, with every page of it present.
    Populated,
    /// Over a part of guest RAM.
    Over(*mut u8),
}

/// Maps a file.
fn map_file(
    place: Place,
    file: &OwnedFd,
    offset: u64,
    len: usize,
    access: libc::c_int,
) -> Result<NonNull<libc::c_void>, KvmError> {
    let offset = libc::off_t::try_from(offset).map_err(|_| KvmError::Syscall {
        syscall: "mmap",
        errno: Errno(libc::EINVAL),
    })?;
    let (address, flags) = match place {
        Place::Anywhere => (ptr::null_mut(), libc::MAP_SHARED),
        Place::Populated => (ptr::null_mut(), libc::MAP_SHARED | libc::MAP_POPULATE),
        Place::Over(place) => (place.cast(), libc::MAP_SHARED | libc::MAP_FIXED),
    };
    // SAFETY: a fresh mapping at an address the kernel chooses, or over a part of the mapping of guest RAM, to which no
    // Rust reference exists and which stays a mapping for reads and writes.
    let address = unsafe { libc::mmap(address, len, access, flags, file.as_raw_fd(), offset) };
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
    NonNull::new(address).ok_or(KvmError::last("mmap"))
}
