//! What can go wrong at the kernel's boundary.

use std::io;

use crate::probe::Obstacle;
use crate::register::RegId;

/// An operating-system error number, such as `EINVAL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// `ENOENT`: no such register, file or device.
    pub const NO_ENTRY: Self = Self(libc::ENOENT);
    /// `EFAULT`: an address without memory.
    pub const FAULT: Self = Self(libc::EFAULT);
    /// `EHWPOISON`: memory with a hardware error (asm-generic/errno.h; other systems than Linux have no such number).
    pub const HWPOISON: Self = Self(133);
    /// `ENOSYS`: nothing there that could do it.
    pub const NOT_IMPLEMENTED: Self = Self(libc::ENOSYS);

    /// The calling thread's last error.
    #[must_use]
    pub fn last() -> Self {
        Self::of(&io::Error::last_os_error())
    }

    /// The number of an error, also of one that the standard library found before the system was asked: `ENOMEM` for a failed
    /// allocation, `EINVAL` for what cannot be put to the system, such as a NUL in a path.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        let found_before = match error.kind() {
            io::ErrorKind::OutOfMemory => libc::ENOMEM,
            _ => libc::EINVAL,
        };
        Self(error.raw_os_error().unwrap_or(found_before))
    }

    /// The symbolic name, such as `EINVAL`, for the numbers that KVM, memory and files give.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            libc::EPERM => "EPERM",
            libc::ENOENT => "ENOENT",
            libc::ESRCH => "ESRCH",
            libc::EINTR => "EINTR",
            libc::EIO => "EIO",
            libc::E2BIG => "E2BIG",
            libc::ENOEXEC => "ENOEXEC",
            libc::EBADF => "EBADF",
            libc::EAGAIN => "EAGAIN",
            libc::ENOMEM => "ENOMEM",
            libc::EACCES => "EACCES",
            libc::EFAULT => "EFAULT",
            libc::EBUSY => "EBUSY",
            libc::EEXIST => "EEXIST",
            libc::ENODEV => "ENODEV",
            libc::ENOTDIR => "ENOTDIR",
            libc::EISDIR => "EISDIR",
            libc::EINVAL => "EINVAL",
            libc::ENFILE => "ENFILE",
            libc::EMFILE => "EMFILE",
            libc::ENOTTY => "ENOTTY",
            libc::EFBIG => "EFBIG",
            libc::ENOSPC => "ENOSPC",
            libc::ENAMETOOLONG => "ENAMETOOLONG",
            libc::ENOSYS => "ENOSYS",
            libc::ELOOP => "ELOOP",
            libc::EOVERFLOW => "EOVERFLOW",
            libc::EOPNOTSUPP => "EOPNOTSUPP",
            #[cfg(target_os = "linux")]
            libc::EHWPOISON => "EHWPOISON",
            _ => return None,
        })
    }

    /// Whether the process or the host has run out of files, memory or address space.
    #[must_use]
    pub const fn is_out_of_resources(self) -> bool {
        matches!(
            self.0,
            libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN | libc::ENOSPC | libc::EFBIG
        )
    }
}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

/// An error of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KvmError {
    /// This host cannot run the virtual machine at all.
    #[error("this host cannot run a KVM guest: {0}")]
    UnsupportedHost(Obstacle),
    /// `/dev/kvm` exists and may not be opened.
    #[error("/dev/kvm may not be opened ({errno}): {}", Obstacle::Permission)]
    Permission {
        /// `EACCES` or `EPERM`.
        errno: Errno,
    },
    /// Somebody replaced the process's `SIGBUS` handler after Seawall had installed its own, as `process.on('SIGBUS')` does.
    #[error(
        "Expected Seawall's own handler of SIGBUS but another one was installed after it: without it a memory error cannot \
         be contained"
    )]
    SignalHandler,
    /// A system call failed.
    #[error("{syscall} failed with {errno}")]
    Syscall {
        /// The system call or KVM ioctl, such as `KVM_CREATE_VM`.
        syscall: &'static str,
        /// What the kernel answered.
        errno: Errno,
    },
    /// `KVM_GET_ONE_REG` or `KVM_SET_ONE_REG` failed.
    #[error("{syscall} of {register} failed with {errno}")]
    Register {
        /// `KVM_GET_ONE_REG` or `KVM_SET_ONE_REG`.
        syscall: &'static str,
        /// The register.
        register: RegId,
        /// What the kernel answered.
        errno: Errno,
    },
}

impl KvmError {
    /// Makes the error of a failed system call from the calling thread's `errno`.
    #[must_use]
    pub fn last(syscall: &'static str) -> Self {
        Self::Syscall {
            syscall,
            errno: Errno::last(),
        }
    }

    /// The system call that failed, where one did.
    #[must_use]
    pub const fn syscall(&self) -> Option<&'static str> {
        match self {
            Self::Syscall { syscall, .. } | Self::Register { syscall, .. } => Some(syscall),
            Self::Permission { .. } => Some("open"),
            Self::UnsupportedHost(_) | Self::SignalHandler => None,
        }
    }

    /// What the kernel answered, where it did.
    #[must_use]
    pub const fn errno(&self) -> Option<Errno> {
        match self {
            Self::Syscall { errno, .. } | Self::Register { errno, .. } | Self::Permission { errno } => {
                Some(*errno)
            }
            Self::UnsupportedHost(_) | Self::SignalHandler => None,
        }
    }
}
