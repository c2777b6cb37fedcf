//! What can be wrong with what a guest starts with.

use std::path::PathBuf;

use seawall_kvm::Errno;

use crate::memory_layout::RAM_BASE;

/// Why a guest cannot be started: found before any of its vCPUs runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// A file cannot be read.
    #[error("Expected a readable file for {option} but received {path:?} ({errno})")]
    UnreadableFile {
        /// The option that names it, such as `boot.kernel`.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        errno: Errno,
    },
    /// A file could not be opened or read, and that says nothing of the file.
    #[error("the file of {option}, {path:?}, cannot be opened or read for want of resources ({errno})")]
    NoResourcesForFile {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said, such as `EMFILE`.
        errno: Errno,
    },
    /// A path leads to a device, a pipe or a socket.
    #[error("Expected a regular file for {option} but received {path:?}")]
    NotAFile {
        /// The option that names it.
        option: &'static str,
        /// What is no file.
        path: PathBuf,
    },
    /// A flat image has no instruction.
    #[error("Expected at least one instruction (4 bytes) for boot.image but received {len} bytes")]
    EmptyImage {
        /// Its size in bytes.
        len: usize,
    },
    /// A flat image does not lie in guest RAM.
    #[error(
        "Expected boot.image to lie inside guest RAM ({RAM_BASE:#x}, {size:#x} bytes) but received {len:#x} bytes at \
         {load_address:#x}"
    )]
    ImageOutsideMemory {
        /// Where it was to go.
        load_address: u64,
        /// Its size in bytes.
        len: usize,
        /// The size of guest RAM in bytes.
        size: u64,
    },
    /// The entry point is no instruction of a flat image.
    #[error(
        "Expected a multiple of 4 inside the image ({load_address:#x}, {len:#x} bytes) for boot.entry but received \
         {entry:#x}"
    )]
    EntryOutsideImage {
        /// The entry point.
        entry: u64,
        /// Where the image lies.
        load_address: u64,
        /// Its size in bytes.
        len: usize,
    },
    /// The kernel is something else than an arm64 Image.
    #[error("Expected an arm64 Linux kernel Image, plain or gzip, for boot.kernel but received {found}")]
    NotAKernel {
        /// What it is, and what to do about it.
        found: &'static str,
    },
    /// The gzip around the kernel is broken.
    #[error("Expected a whole gzip file for boot.kernel but received one that is broken: {message}")]
    BrokenGzip {
        /// What is wrong.
        message: String,
    },
    /// The kernel's header is not one of a kernel that can be placed.
    #[error(
        "Expected a multiple of 4 KiB below 2 MiB for the text offset of boot.kernel but received {text_offset:#x}"
    )]
    TextOffset {
        /// The offset in the header.
        text_offset: u64,
    },
    /// The kernel is shorter than its own header says.
    #[error(
        "Expected at least {expected} bytes for boot.kernel, as its header says, but received {received}"
    )]
    TruncatedKernel {
        /// How many bytes its sections need.
        expected: u64,
        /// How many there are.
        received: u64,
    },
    /// The guest's memory has no room for the kernel.
    #[error(
        "Expected at least {expected} bytes for memory, which this kernel with its device tree needs, but received \
         {received}"
    )]
    MemoryTooSmall {
        /// How many bytes are needed at least.
        expected: u64,
        /// How many the guest has.
        received: u64,
    },
    /// The initial RAM disk has nothing in it.
    #[error("Expected an initial RAM disk for boot.initrd but received an empty file")]
    EmptyInitrd,
    /// The guest's memory has no room for the initial RAM disk.
    #[error(
        "Expected at most {limit} bytes for boot.initrd, which is what this memory has room for, but received {received}"
    )]
    InitrdTooLarge {
        /// How many bytes have room between the kernel and the device tree.
        limit: u64,
        /// How many it has at least.
        received: u64,
    },
    /// The kernel reads no longer command line.
    #[error("Expected at most {limit} bytes for boot.cmdline but received {received}")]
    CommandLineTooLong {
        /// How long it may be, in bytes.
        limit: usize,
        /// Its length in bytes.
        received: usize,
    },
    /// The command line ends before its end.
    #[error("Expected no NUL in boot.cmdline but received one at byte {position}")]
    CommandLineNul {
        /// Where the NUL is.
        position: usize,
    },
    /// The device tree is larger than a kernel maps.
    #[error("Expected at most {limit} bytes for the device tree but it has {len}")]
    DeviceTreeTooLarge {
        /// How large it may be, in bytes.
        limit: u64,
        /// How large it is, in bytes.
        len: usize,
    },
}

impl BootError {
    /// The stable code that programs test.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnreadableFile { .. }
            | Self::NotAFile { .. }
            | Self::EmptyImage { .. }
            | Self::ImageOutsideMemory { .. }
            | Self::EntryOutsideImage { .. }
            | Self::NotAKernel { .. }
            | Self::BrokenGzip { .. }
            | Self::TextOffset { .. }
            | Self::TruncatedKernel { .. }
            | Self::EmptyInitrd
            | Self::InitrdTooLarge { .. } => "ERR_INVALID_IMAGE",
            Self::MemoryTooSmall { .. } | Self::CommandLineTooLong { .. } | Self::CommandLineNul { .. } => {
                "ERR_INVALID_OPTION"
            }
            Self::NoResourcesForFile { .. } | Self::DeviceTreeTooLarge { .. } => "ERR_OUT_OF_RESOURCES",
        }
    }

    /// What the system answered, where it did.
    #[must_use]
    pub const fn errno(&self) -> Option<Errno> {
        match self {
            Self::UnreadableFile { errno, .. } | Self::NoResourcesForFile { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}
