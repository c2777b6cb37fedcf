//! Facts about the host that are no KVM capabilities.

// UNSAFETY: system calls.
#![allow(unsafe_code)]

/// `uname -r`; empty where the system does not say.
pub(crate) fn kernel_release() -> String {
    // SAFETY: utsname is made of byte arrays, for which zeroes are valid.
    let mut name: libc::utsname = unsafe { core::mem::zeroed() };
    // SAFETY: the call fills the structure it is given.
    if unsafe { libc::uname(&raw mut name) } != 0 {
        return String::new();
    }
    // SAFETY: uname wrote a C string into the field.
    unsafe { std::ffi::CStr::from_ptr(name.release.as_ptr()) }
        .to_string_lossy()
        .into_owned()
}

/// Whether this process may create a userfaultfd that knows `UFFDIO_POISON` (Linux 6.6).
#[cfg(target_os = "linux")]
pub(crate) fn userfaultfd_can_poison() -> bool {
    crate::quarantine::Quarantine::open().is_ok()
}

/// Whether this process may use `MADV_HWPOISON`.
#[cfg(target_os = "linux")]
pub(crate) fn hwpoison_allowed() -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    // The sysctl exists exactly where the kernel has CONFIG_MEMORY_FAILURE.
    if !std::path::Path::new("/proc/sys/vm/memory_failure_early_kill").exists() {
        return false;
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|value| u64::from_str_radix(value.trim(), 16).ok())
        .is_some_and(|effective| effective >> CAP_SYS_ADMIN & 1 == 1)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn userfaultfd_can_poison() -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn hwpoison_allowed() -> bool {
    false
}

/// The size of the host's pages in bytes: 4096, 16384 or 65536 on arm64.
#[must_use]
pub fn host_page_size() -> u64 {
    // SAFETY: the call takes a number and returns one.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(4096)
}
