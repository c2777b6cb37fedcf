//! What a kernel wants to see of UEFI so that it finds the ACPI tables: no firmware, only its system table.
//!
//! Source: UEFI specification 2.10, sections 4.3 (system table), 4.6 (configuration table, EFI_RT_PROPERTIES_TABLE) and 7.2.3
//! (memory map); Documentation/arch/arm/uefi.rst of Linux 7.3.

use crate::little_endian::LittleEndian;
use crate::memory_layout::PAGE_SIZE;

/// The size of a descriptor of the memory map in bytes, for `linux,uefi-mmap-desc-size`.
pub const MEMORY_DESCRIPTOR_SIZE: u32 = 40;
/// The version of a descriptor of the memory map, for `linux,uefi-mmap-desc-ver`.
pub const MEMORY_DESCRIPTOR_VERSION: u32 = 1;

/// `IBI SYST`.
const SIGNATURE: u64 = 0x5453_5953_2049_4249;
/// UEFI 2.7.
const REVISION: u32 = 2 << 16 | 70;
const SYSTEM_TABLE_SIZE: u32 = 120;
/// EFI_ACPI_20_TABLE_GUID, 8868e871-e4f1-11d3-bc22-0080c73c8881.
const ACPI_20: [u8; 16] = [
    0x71, 0xe8, 0x68, 0x88, 0xf1, 0xe4, 0xd3, 0x11, 0xbc, 0x22, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81,
];
/// EFI_RT_PROPERTIES_TABLE_GUID, eb66918a-7eef-402a-842e-931d21c38ae9.
const RT_PROPERTIES: [u8; 16] = [
    0x8a, 0x91, 0x66, 0xeb, 0xef, 0x7e, 0x2a, 0x40, 0x84, 0x2e, 0x93, 0x1d, 0x21, 0xc3, 0x8a, 0xe9,
];
const CONFIGURATION_TABLES: u64 = 2;
/// EFI_MEMORY_WB: the memory may be mapped as cacheable.
const WRITE_BACK: u64 = 8;

/// What a part of RAM is for (EFI_MEMORY_TYPE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemoryType {
    /// Nobody's but the VMM's: the kernel maps it when it is told where, as cacheable memory.
    Reserved,
    /// The kernel's.
    Conventional,
    /// Of ACPI tables.
    AcpiReclaim,
}

/// A part of RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemoryArea {
    pub(super) kind: MemoryType,
    pub(super) start: u64,
    /// The first address behind it.
    pub(super) end: u64,
}

/// The descriptors of these parts, those of no size left out.
pub(super) fn memory_map(areas: &[MemoryArea]) -> Vec<u8> {
    let areas = areas.iter().filter(|area| area.end > area.start);
    let map = areas.fold(LittleEndian::default(), |map, area| {
        let kind = match area.kind {
            MemoryType::Reserved => 0,
            MemoryType::Conventional => 7,
            MemoryType::AcpiReclaim => 9,
        };
        map.u32(kind)
            .u32(0)
            .u64(area.start)
            .u64(0)
            .u64((area.end - area.start) / PAGE_SIZE)
            .u64(WRITE_BACK)
    });
    map.into_bytes()
}

/// Says that no runtime service is there: without it the kernel calls the one at address 0.
pub(super) fn runtime_properties() -> Vec<u8> {
    LittleEndian::default().u16(1).u16(8).u32(0).into_bytes()
}

/// The name of the firmware, in UTF-16 with a NUL.
pub(super) fn vendor() -> Vec<u8> {
    "Seawall\0".encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Where the tables lie that UEFI knows by a GUID.
pub(super) fn configuration_table(rsdp: u64, runtime_properties: u64) -> Vec<u8> {
    LittleEndian::default()
        .bytes(&ACPI_20)
        .u64(rsdp)
        .bytes(&RT_PROPERTIES)
        .u64(runtime_properties)
        .into_bytes()
}

/// Consoles, boot services and runtime services are absent, and no kernel on arm64 looks at the checksum.
pub(super) fn system_table(vendor: u64, configuration_table: u64) -> Vec<u8> {
    LittleEndian::default()
        .u64(SIGNATURE)
        .u32(REVISION)
        .u32(SYSTEM_TABLE_SIZE)
        .zeros_to(24)
        .u64(vendor)
        .zeros_to(104)
        .u64(CONFIGURATION_TABLES)
        .u64(configuration_table)
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::little_endian::field;

    #[test]
    fn the_system_table_leads_to_the_configuration_table() {
        let table = system_table(0x1_0000_1000, 0x1_0000_2000);
        assert_eq!(table.len(), 120);
        assert_eq!(&table[..8], b"IBI SYST");
        assert_eq!((field(&table, 8, 4), field(&table, 12, 4)), (0x0002_0046, 120));
        assert_eq!(field(&table, 16, 8), 0);
        assert_eq!(field(&table, 24, 8), 0x1_0000_1000);
        assert!(table[32..104].iter().all(|byte| *byte == 0), "no services");
        assert_eq!(field(&table, 104, 8), 2);
        assert_eq!(field(&table, 112, 8), 0x1_0000_2000);
    }

    #[test]
    fn the_configuration_table_knows_acpi_and_that_there_are_no_runtime_services() {
        let table = configuration_table(0x1111, 0x2222);
        assert_eq!(table.len(), 48);
        // As u128 in the order of the bytes: of a GUID the first three fields are little-endian, the rest is not.
        let guid =
            |offset: usize| u128::from_be_bytes(table[offset..offset + 16].try_into().expect("16 bytes"));
        assert_eq!(guid(0), 0x71e8_6888_f1e4_d311_bc22_0080_c73c_8881);
        assert_eq!(field(&table, 16, 8), 0x1111);
        assert_eq!(guid(24), 0x8a91_66eb_ef7e_2a40_842e_931d_21c3_8ae9);
        assert_eq!(field(&table, 40, 8), 0x2222);
        assert_eq!(runtime_properties(), [1, 0, 8, 0, 0, 0, 0, 0]);
        assert_eq!(vendor(), b"S\0e\0a\0w\0a\0l\0l\0\0\0");
    }

    #[test]
    fn a_descriptor_says_what_memory_is_for_and_counts_pages_of_4_kib() {
        let area = |kind, start, end| MemoryArea { kind, start, end };
        let map = memory_map(&[
            area(MemoryType::Conventional, 0x8000_0000, 0x8ff0_0000),
            area(MemoryType::AcpiReclaim, 0x8ff0_0000, 0x8ff4_0000),
            area(MemoryType::Conventional, 0x8ff4_0000, 0x8ff4_0000),
            area(MemoryType::Reserved, 0x8ff4_0000, 0x8ff5_0000),
        ]);
        assert_eq!(map.len(), 3 * 40, "the empty one is left out");
        for (index, (kind, start, pages)) in [
            (7, 0x8000_0000, 0xff00),
            (9, 0x8ff0_0000, 0x40),
            (0, 0x8ff4_0000, 0x10),
        ]
        .into_iter()
        .enumerate()
        {
            let descriptor = &map[index * 40..][..40];
            assert_eq!(field(descriptor, 0, 8), kind);
            assert_eq!(field(descriptor, 8, 8), start);
            assert_eq!(field(descriptor, 16, 8), 0, "virtual address");
            assert_eq!(field(descriptor, 24, 8), pages);
            assert_eq!(field(descriptor, 32, 8), 8, "write-back");
        }
    }
}
