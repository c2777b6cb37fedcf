//! ACPI without firmware: what tells a Linux guest of its machine, and where it is told of lost pages.
//!
//! A device tree has no words for memory errors; ACPI has (HEST). A kernel takes the tables over UEFI, and of UEFI it needs a
//! system table and a memory map alone, both in memory when it starts. It finds them by properties of its device tree.
//!
//! ```text
//! /chosen ─┬─ linux,uefi-system-table ─> system table ─> configuration table ─┬─> RSDP ─> XSDT ─> FADT ─> DSDT
//!          └─ linux,uefi-mmap-start ──> memory map                            │            ├──> MADT
//!                                                                             │            ├──> GTDT
//!                                       runtime properties: no services <─────┘            ├──> SPCR
//!                                                                                          └──> HEST ─> GHES region
//! ```
//!
//! [`AcpiMachine::build`] writes all of it as one blob for a place of its own. Nothing in it changes while the guest runs, and
//! it is written anew for each boot. Devices that the DSDT does not name do not exist for a guest that uses ACPI.
//!
//! No crate writes what is needed: acpi_tables 0.2.1 has no GTDT, no SPCR for a 16550, and a MADT of a revision before the GIC.
//!
//! Source: ACPI specification 6.5; UEFI specification 2.10; arch/arm64/kernel/acpi.c and drivers/firmware/efi of Linux 7.3.

mod aml;
mod dsdt;
mod efi;
mod fadt;
mod gtdt;
mod hest;
mod madt;
mod root;
mod spcr;
mod table;

use crate::ghes;
use crate::memory_layout::RAM_BASE;
use crate::options::MAX_VCPUS;
use efi::{MemoryArea, MemoryType};

pub use efi::{MEMORY_DESCRIPTOR_SIZE, MEMORY_DESCRIPTOR_VERSION};

/// The room for the tables in bytes.
pub const TABLES_SIZE: u64 = 256 << 10;
/// What every part of the memory map is a multiple of: the largest page of a kernel, which rounds what is not.
pub const ALIGNMENT: u64 = 64 << 10;

/// A machine, as far as ACPI describes it.
///
/// ```
/// use seawall_vmm::acpi::{AcpiLayout, AcpiMachine};
/// use seawall_vmm::memory_layout::RAM_BASE;
///
/// let layout = AcpiLayout::at(RAM_BASE + (15 << 20));
/// let machine = AcpiMachine { memory: 16 << 20, cpus: &[0, 1], layout, error_sources: true };
/// let tables = machine.build()?;
/// assert!(tables.system_table > layout.tables);
/// # Ok::<(), seawall_vmm::acpi::AcpiError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcpiMachine<'a> {
    /// The size of RAM in bytes. What lies behind the last multiple of [`ALIGNMENT`] is left out of the memory map.
    pub memory: u64,
    /// The values of MPIDR_EL1, 1 to [`MAX_VCPUS`].
    pub cpus: &'a [u64],
    /// Where things lie.
    pub layout: AcpiLayout,
    /// Whether the guest is told of lost memory: else there is no HEST, and the GHES region is not looked at.
    pub error_sources: bool,
}

/// Which parts of RAM are not the guest's own, as guest-physical addresses that are multiples of [`ALIGNMENT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcpiLayout {
    /// Where the tables go, [`TABLES_SIZE`] bytes.
    pub tables: u64,
    /// Where the GHES region is, [`ghes::REGION_SIZE`] bytes.
    pub ghes: u64,
}

impl AcpiLayout {
    /// How far behind the tables the layout of [`AcpiLayout::at`] ends, in bytes.
    pub const SIZE: u64 = TABLES_SIZE + ghes::REGION_SIZE;

    /// The tables at an address, and the GHES region behind them.
    #[must_use]
    pub const fn at(tables: u64) -> Self {
        Self {
            tables,
            ghes: tables + TABLES_SIZE,
        }
    }
}

/// What a guest finds in its memory, and where it is told to look for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcpiTables {
    /// What lies at [`AcpiLayout::tables`].
    pub bytes: Vec<u8>,
    /// The address of the EFI system table, for `linux,uefi-system-table`.
    pub system_table: u64,
    /// The EFI memory map.
    pub memory_map: MemoryMap,
}

/// Where the EFI memory map lies. Its descriptors have [`MEMORY_DESCRIPTOR_SIZE`] and [`MEMORY_DESCRIPTOR_VERSION`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryMap {
    /// Its address, for `linux,uefi-mmap-start`.
    pub address: u64,
    /// Its size in bytes, for `linux,uefi-mmap-size`.
    pub size: u32,
}

/// Tables that cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AcpiError {
    /// There are no CPUs, or more than an arm64 KVM can have.
    #[error("Expected 1 to {MAX_VCPUS} CPUs for the ACPI tables but received {received}")]
    Cpus {
        /// How many there are.
        received: usize,
    },
    /// The regions are not aligned, not in RAM, or one lies in the other.
    #[error(
        "Expected two regions of RAM ({RAM_BASE:#x}, {memory:#x} bytes), each a multiple of {ALIGNMENT:#x}, for the ACPI \
         tables and the GHES region but received {:#x} and {:#x}", layout.tables, layout.ghes
    )]
    Layout {
        /// What was asked for.
        layout: AcpiLayout,
        /// The size of RAM in bytes.
        memory: u64,
    },
    /// The tables need more room than there is.
    #[error("Expected ACPI tables of {limit} bytes at most but they have {len}")]
    TooLarge {
        /// The most they may have.
        limit: u64,
        /// What they have.
        len: usize,
    },
}

impl AcpiMachine<'_> {
    /// Writes the tables.
    ///
    /// # Errors
    /// [`AcpiError`].
    pub fn build(&self) -> Result<AcpiTables, AcpiError> {
        let areas = self.areas()?;
        let cpus = u32::try_from(self.cpus.len()).ok();
        let cpus = cpus.filter(|cpus| (1..=MAX_VCPUS).contains(cpus));
        let cpus = cpus.ok_or(AcpiError::Cpus {
            received: self.cpus.len(),
        })?;
        let mut blob = Blob::at(self.layout.tables);
        let dsdt = blob.place(&dsdt::dsdt(cpus));
        let mut tables = vec![
            blob.place(&fadt::fadt(dsdt)),
            blob.place(&madt::madt(self.cpus)),
            blob.place(&gtdt::gtdt()),
            blob.place(&spcr::spcr()),
        ];
        if self.error_sources {
            tables.push(blob.place(&hest::hest(self.layout.ghes)));
        }
        let xsdt = blob.place(&root::xsdt(&tables));
        let rsdp = blob.place(&root::rsdp(xsdt));
        let properties = blob.place(&efi::runtime_properties());
        let vendor = blob.place(&efi::vendor());
        let configuration = blob.place(&efi::configuration_table(rsdp, properties));
        let system_table = blob.place(&efi::system_table(vendor, configuration));
        let map = efi::memory_map(&areas);
        let memory_map = MemoryMap {
            address: blob.place(&map),
            // Five descriptors at most.
            size: u32::try_from(map.len()).unwrap_or(u32::MAX),
        };
        let bytes = blob.bytes;
        if bytes.len() as u64 > TABLES_SIZE {
            return Err(AcpiError::TooLarge {
                limit: TABLES_SIZE,
                len: bytes.len(),
            });
        }
        Ok(AcpiTables {
            bytes,
            system_table,
            memory_map,
        })
    }

    /// What each part of RAM is for, by address.
    fn areas(&self) -> Result<[MemoryArea; 5], AcpiError> {
        let AcpiLayout { tables, ghes } = self.layout;
        let refused = AcpiError::Layout {
            layout: self.layout,
            memory: self.memory,
        };
        let end = RAM_BASE.checked_add(self.memory).ok_or(refused)? / ALIGNMENT * ALIGNMENT;
        let area = |kind, start: u64, size: u64| {
            let end = start
                .checked_add(size)
                .filter(|_| start.is_multiple_of(ALIGNMENT))?;
            Some(MemoryArea { kind, start, end })
        };
        let tables = area(MemoryType::AcpiReclaim, tables, TABLES_SIZE).ok_or(refused)?;
        let ghes = area(MemoryType::Reserved, ghes, ghes::REGION_SIZE).ok_or(refused)?;
        let (first, second) = if tables.start < ghes.start {
            (tables, ghes)
        } else {
            (ghes, tables)
        };
        if first.start < RAM_BASE || first.end > second.start || second.end > end {
            return Err(refused);
        }
        let conventional = |start, end| MemoryArea {
            kind: MemoryType::Conventional,
            start,
            end,
        };
        Ok([
            conventional(RAM_BASE, first.start),
            first,
            conventional(first.end, second.start),
            second,
            conventional(second.end, end),
        ])
    }
}

/// Structures one behind the other, each at an address of its own.
struct Blob {
    base: u64,
    bytes: Vec<u8>,
}

impl Blob {
    /// What a table is aligned to, in bytes: a cache line.
    const TABLE_ALIGNMENT: usize = 64;

    fn at(base: u64) -> Self {
        Self {
            base,
            bytes: Vec::new(),
        }
    }

    /// Adds a structure and says where it lies.
    fn place(&mut self, structure: &[u8]) -> u64 {
        let start = self.bytes.len().next_multiple_of(Self::TABLE_ALIGNMENT);
        self.bytes.resize(start, 0);
        self.bytes.extend_from_slice(structure);
        self.base + start as u64
    }
}

#[cfg(test)]
mod tests;
