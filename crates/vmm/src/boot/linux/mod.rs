//! A Linux kernel: where everything goes, and what the first vCPU is told.
//!
//! ```text
//! 0x8000_0000  kernel Image, from a multiple of 2 MiB on, with its BSS
//!              …
//!              initial RAM disk, up to the device tree
//!              device tree, in the last 2 MiB of RAM, or of the kernel's 32 GiB where there is more
//!              ACPI tables and the GHES region, 1 MiB behind the device tree
//! ```
//!
//! Source: Documentation/arch/arm64/booting.rst of Linux 7.3.

mod device_tree;
mod image;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use seawall_kvm::RegId;

use crate::acpi::{AcpiLayout, AcpiMachine};
use crate::boot::file::{BootFile, unreadable};
use crate::boot::{BootError, BootMemory, BootRegisters, PSTATE_AT_ENTRY, PlaceError};
use crate::error::VmError;
use crate::memory_layout::RAM_BASE;
use crate::options::LinuxBoot;
use crate::sea::NotifyGuest;
use device_tree::DeviceTree;
use image::KernelImage;

/// The longest command line in bytes: COMMAND_LINE_SIZE of arm64 without its NUL (arch/arm64/include/uapi/asm/setup.h).
const COMMAND_LINE_LIMIT: usize = 2047;
/// The room for the device tree and what lies behind it, and its alignment: the most that the kernel maps of it.
const DEVICE_TREE_ROOM: u64 = 2 << 20;
/// The room for the device tree alone.
const DEVICE_TREE_SIZE: u64 = 1 << 20;
const _: () = assert!(DEVICE_TREE_SIZE + AcpiLayout::SIZE <= DEVICE_TREE_ROOM);
/// What a kernel needs to take ACPI where there is a device tree too. What follows it on the command line may say otherwise.
const ACPI_ON: &str = "acpi=on ";
/// The window around the kernel that must hold its initial RAM disk.
const WINDOW: u64 = 32 << 30;
const PAGE: u64 = 4096;
/// How much randomness the kernel gets to begin with, in bytes: of its generator's state and its address.
const SEED: usize = 64;
/// What is appended to nothing: the console, and a panic that ends the virtual machine.
const DEFAULT_COMMAND_LINE: &str = "console=ttyS0 panic=-1";

/// A kernel and what goes with it.
#[derive(Debug)]
pub(crate) struct LinuxSource {
    kernel: BootFile,
    initrd: Option<BootFile>,
    command_line: String,
    acpi: bool,
    notify: NotifyGuest,
}

/// A kernel that was read and has its place.
#[derive(Debug)]
pub(crate) struct PreparedLinux<'a> {
    kernel: KernelImage,
    initrd: Option<Vec<u8>>,
    command_line: &'a str,
    layout: Layout,
    acpi: Option<AcpiLayout>,
    notify: NotifyGuest,
    memory: u64,
}

/// Where things lie, as guest-physical addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    kernel: u64,
    initrd: u64,
    device_tree: u64,
}

impl LinuxSource {
    pub(super) fn open(boot: &LinuxBoot, notify: NotifyGuest) -> Result<Self, BootError> {
        let command_line = boot.cmdline.as_deref().unwrap_or(DEFAULT_COMMAND_LINE);
        let prefix = if boot.acpi { ACPI_ON } else { "" };
        let limit = COMMAND_LINE_LIMIT - prefix.len();
        if command_line.len() > limit {
            return Err(BootError::CommandLineTooLong {
                limit,
                received: command_line.len(),
            });
        }
        if let Some(position) = command_line.find('\0') {
            return Err(BootError::CommandLineNul { position });
        }
        let initrd = boot.initrd.as_deref();
        Ok(Self {
            kernel: BootFile::open(&boot.kernel, "boot.kernel")?,
            initrd: initrd
                .map(|path| BootFile::open(path, "boot.initrd"))
                .transpose()?,
            command_line: format!("{prefix}{command_line}"),
            acpi: boot.acpi,
            notify,
        })
    }

    /// Reads and checks it. `memory` is the size of guest RAM in bytes.
    pub(super) fn read(&self, memory: u64) -> Result<PreparedLinux<'_>, BootError> {
        let limit = memory.min(WINDOW);
        let kernel = KernelImage::parse(self.kernel.read(limit)?, limit)?;
        let initrd = self.initrd.as_ref().map(|initrd| initrd.read(limit));
        let initrd = initrd.transpose()?;
        if initrd.as_ref().is_some_and(Vec::is_empty) {
            return Err(BootError::EmptyInitrd);
        }
        let initrd_size = initrd.as_ref().map_or(0, Vec::len) as u64;
        let layout = Layout::new(memory, kernel.text_offset, kernel.size, initrd_size)?;
        Ok(PreparedLinux {
            kernel,
            initrd,
            command_line: &self.command_line,
            layout,
            acpi: self
                .acpi
                .then(|| AcpiLayout::at(layout.device_tree + DEVICE_TREE_SIZE)),
            notify: self.notify,
            memory,
        })
    }
}

impl Layout {
    fn new(memory: u64, text_offset: u64, kernel: u64, initrd: u64) -> Result<Self, BootError> {
        let size = memory.min(WINDOW);
        let kernel_end = text_offset.saturating_add(kernel).saturating_add(PAGE - 1) / PAGE * PAGE;
        let too_small = BootError::MemoryTooSmall {
            // The header may say anything, so that this need not be a size that there is.
            expected: (kernel_end / DEVICE_TREE_ROOM + 2).saturating_mul(DEVICE_TREE_ROOM),
            received: memory,
        };
        let device_tree = (size / DEVICE_TREE_ROOM * DEVICE_TREE_ROOM).checked_sub(DEVICE_TREE_ROOM);
        let Some(room) = device_tree.and_then(|device_tree| device_tree.checked_sub(kernel_end)) else {
            return Err(too_small);
        };
        let device_tree = kernel_end + room;
        if initrd > room {
            return Err(BootError::InitrdTooLarge {
                limit: room,
                received: initrd,
            });
        }
        Ok(Self {
            kernel: RAM_BASE + text_offset,
            initrd: RAM_BASE + (device_tree - initrd) / PAGE * PAGE,
            device_tree: RAM_BASE + device_tree,
        })
    }
}

impl PreparedLinux<'_> {
    /// Where the GHES region is, if the guest is to be told of lost pages by that.
    pub(super) fn ghes_region(&self) -> Option<u64> {
        let layout = self.acpi.filter(|_| self.notify == NotifyGuest::Ghes)?;
        Some(layout.ghes)
    }

    /// Puts everything into memory. `cpus` are the values of MPIDR_EL1.
    pub(super) fn place(&self, memory: &BootMemory<'_>, cpus: &[u64]) -> Result<BootRegisters, PlaceError> {
        let layout = self.layout;
        let acpi = match self.acpi {
            None => None,
            Some(layout) => {
                let machine = AcpiMachine {
                    memory: self.memory,
                    cpus,
                    layout,
                    error_sources: self.notify == NotifyGuest::Ghes,
                };
                let tables = machine.build().map_err(|error| VmError::Bug {
                    message: format!("the ACPI tables cannot be written: {error}"),
                })?;
                memory.write(layout.tables, &tables.bytes)?;
                Some(tables)
            }
        };
        let device_tree = DeviceTree {
            memory: self.memory,
            cpus,
            command_line: self.command_line,
            initrd: self
                .initrd
                .as_ref()
                .map(|bytes| (layout.initrd, bytes.len() as u64)),
            seed: seed()?,
            reserved: self.acpi.map(|layout| (layout.tables, AcpiLayout::SIZE)),
            acpi: acpi.as_ref(),
            agent: self.acpi.is_none() && self.notify == NotifyGuest::Agent,
        };
        let device_tree = device_tree.build().map_err(|error| VmError::Bug {
            message: format!("the device tree cannot be written: {error}"),
        })?;
        if device_tree.len() as u64 > DEVICE_TREE_SIZE {
            let error = BootError::DeviceTreeTooLarge {
                limit: DEVICE_TREE_SIZE,
                len: device_tree.len(),
            };
            return Err(VmError::Boot(error).into());
        }
        memory.write(layout.kernel, &self.kernel.bytes)?;
        if let Some(initrd) = &self.initrd {
            memory.write(layout.initrd, initrd)?;
        }
        memory.write(layout.device_tree, &device_tree)?;
        // X1 to X3 are zero, as they are after a reset.
        let x0 = RegId::x(0)
            .into_iter()
            .map(|register| (register, layout.device_tree));
        let entry = [(RegId::PSTATE, PSTATE_AT_ENTRY), (RegId::PC, layout.kernel)];
        Ok(BootRegisters(x0.chain(entry).collect()))
    }
}

fn seed() -> Result<[u8; SEED], VmError> {
    let mut seed = [0; SEED];
    let path = "/dev/urandom";
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut seed))
        .map_err(|error| unreadable("the guest's random seed", Path::new(path), &error))?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_says_to_need_any_size_is_refused_with_no_less() {
        for kernel in [33 << 20, u64::MAX - (4 << 20), u64::MAX - 1, u64::MAX] {
            let error = Layout::new(32 << 20, 0, kernel, 0).expect_err("it does not fit");
            let BootError::MemoryTooSmall { expected, received } = error else {
                panic!("{error}");
            };
            assert!(
                expected > kernel || expected == u64::MAX,
                "{expected} for {kernel}"
            );
            assert_eq!(received, 32 << 20);
        }
    }
}

#[cfg(test)]
mod arbitrary;
