//! The blob as a whole: that a kernel finds everything, and what cannot be built.

use super::*;
use crate::ghes::Source;
use crate::little_endian::field;

const MIB: u64 = 1 << 20;

fn machine(memory: u64, cpus: &[u64]) -> AcpiMachine<'_> {
    AcpiMachine {
        memory,
        cpus,
        layout: AcpiLayout::at(RAM_BASE + memory - MIB),
        error_sources: true,
    }
}

/// Reads what a guest would at a guest-physical address.
struct Reader<'a> {
    tables: &'a AcpiTables,
    base: u64,
}

impl Reader<'_> {
    fn at(&self, address: u64) -> &[u8] {
        &self.tables.bytes[usize::try_from(address - self.base).expect("an offset")..]
    }

    fn pointer(&self, address: u64, offset: usize) -> u64 {
        field(self.at(address), offset, 8)
    }

    /// A table with its length.
    fn table(&self, address: u64) -> &[u8] {
        assert!(address.is_multiple_of(64));
        let rest = self.at(address);
        &rest[..usize::try_from(field(rest, 4, 4)).expect("a length")]
    }
}

#[test]
fn a_kernel_finds_every_table_and_no_sum_is_wrong() {
    for cpus in [1_usize, 2, 4, 255, 512] {
        let mpidrs: Vec<u64> = (0..cpus as u64).map(|cpu| cpu >> 4 << 8 | cpu & 15).collect();
        let machine = machine(256 * MIB, &mpidrs);
        let tables = machine.build().expect("it fits");
        let guest = Reader {
            tables: &tables,
            base: machine.layout.tables,
        };
        assert_eq!(&guest.at(tables.system_table)[..8], b"IBI SYST");
        let vendor = guest.pointer(tables.system_table, 24);
        assert_eq!(&guest.at(vendor)[..4], b"S\0e\0");
        let configuration = guest.pointer(tables.system_table, 112);
        let properties = guest.pointer(configuration, 40);
        assert_eq!(field(guest.at(properties), 0, 8), 8 << 16 | 1);
        let rsdp = guest.pointer(configuration, 16);
        assert_eq!(&guest.at(rsdp)[..8], b"RSD PTR ");
        let xsdt = guest.table(guest.pointer(rsdp, 24));
        let listed: Vec<u64> = (36..xsdt.len()).step_by(8).map(|at| field(xsdt, at, 8)).collect();
        let dsdt = guest.pointer(listed[0], 140);
        let mut found = Vec::new();
        for table in listed.iter().chain([&dsdt]).map(|address| guest.table(*address)) {
            let sum = table.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
            assert_eq!(sum, 0, "{}", String::from_utf8_lossy(&table[..4]));
            found.push((&table[..4], table.len()));
        }
        assert_eq!(
            found[..5],
            [
                (b"FACP".as_slice(), 276),
                (b"APIC", 84 + 80 * cpus),
                (b"GTDT", 96),
                (b"SPCR", 80),
                (b"HEST", 224),
            ]
        );
        assert_eq!(found[5].0, b"DSDT");
        assert!(tables.bytes.len() as u64 <= TABLES_SIZE);
    }
}

/// The descriptors as (type, first address, first address behind it).
fn memory_map(machine: &AcpiMachine<'_>) -> Vec<(u64, u64, u64)> {
    let tables = machine.build().expect("it fits");
    let guest = Reader {
        tables: &tables,
        base: machine.layout.tables,
    };
    let size = tables.memory_map.size as usize;
    assert_eq!(size % 40, 0);
    let map = &guest.at(tables.memory_map.address)[..size];
    let descriptors = map.chunks(40).map(|descriptor| {
        assert_eq!(field(descriptor, 32, 8), 8, "write-back");
        let start = field(descriptor, 8, 8);
        (
            field(descriptor, 0, 4),
            start,
            start + field(descriptor, 24, 8) * 4096,
        )
    });
    descriptors.collect()
}

#[test]
fn the_memory_map_is_all_of_ram_and_nothing_else() {
    for memory in [16 * MIB, 256 * MIB, 40 << 30] {
        let machine = machine(memory, &[0]);
        let tables = machine.layout.tables;
        assert_eq!(
            memory_map(&machine),
            [
                (7, RAM_BASE, tables),
                (9, tables, tables + 0x4_0000),
                (0, tables + 0x4_0000, tables + 0x5_0000),
                (7, tables + 0x5_0000, RAM_BASE + memory),
            ]
        );
    }
}

#[test]
fn regions_in_any_order_and_at_the_very_ends_are_described() {
    let cpus = [0];
    let layout = AcpiLayout {
        tables: RAM_BASE + 16 * MIB - TABLES_SIZE,
        ghes: RAM_BASE,
    };
    let machine = AcpiMachine {
        memory: 16 * MIB,
        cpus: &cpus,
        layout,
        error_sources: true,
    };
    let end = RAM_BASE + 16 * MIB;
    assert_eq!(
        memory_map(&machine),
        [
            (0, RAM_BASE, RAM_BASE + 0x1_0000),
            (7, RAM_BASE + 0x1_0000, end - 0x4_0000),
            (9, end - 0x4_0000, end),
        ]
    );
}

#[test]
fn what_is_behind_the_last_64_kib_of_ram_is_left_out() {
    let cpus = [0];
    for odd in [0, 4096, 0xf000] {
        let memory = 16 * MIB + odd;
        let layout = AcpiLayout::at(RAM_BASE + 8 * MIB);
        let machine = AcpiMachine {
            memory,
            cpus: &cpus,
            layout,
            error_sources: true,
        };
        let last = memory_map(&machine).pop().expect("descriptors");
        assert_eq!(last.2, RAM_BASE + 16 * MIB);
    }
}

#[test]
fn the_sources_lie_in_the_reserved_region() {
    let machine = machine(16 * MIB, &[0]);
    let ghes = machine.layout.ghes;
    for source in Source::ALL {
        for (start, len) in source.parts(ghes) {
            let (kind, ..) = memory_map(&machine)
                .into_iter()
                .find(|(_, first, end)| *first <= start && start + len <= *end)
                .expect("one descriptor");
            assert_eq!(kind, 0, "{source:?}");
        }
    }
}

#[test]
fn what_cannot_be_built_is_a_typed_error() {
    for received in [0, 513, 5000] {
        let cpus = vec![0; received];
        assert_eq!(
            machine(16 * MIB, &cpus).build(),
            Err(AcpiError::Cpus { received })
        );
    }
    let memory = 16 * MIB;
    let end = RAM_BASE + memory;
    for (memory, tables, ghes) in [
        (memory, RAM_BASE + 4096, RAM_BASE + MIB),
        (memory, RAM_BASE, RAM_BASE + MIB + 4096),
        (memory, RAM_BASE, RAM_BASE),
        (memory, RAM_BASE, RAM_BASE + 0x3_0000),
        (memory, RAM_BASE + 0x1_0000 - MIB, RAM_BASE),
        (memory, end - 0x3_0000, RAM_BASE),
        (memory, RAM_BASE, end),
        (memory, u64::MAX / ALIGNMENT * ALIGNMENT, RAM_BASE),
        (memory, RAM_BASE, u64::MAX / ALIGNMENT * ALIGNMENT),
        (u64::MAX, RAM_BASE, RAM_BASE + MIB),
        (0, RAM_BASE, RAM_BASE + MIB),
        (0x4_f000, RAM_BASE, RAM_BASE + 0x4_0000),
    ] {
        let layout = AcpiLayout { tables, ghes };
        let cpus = [0];
        let machine = AcpiMachine {
            memory,
            cpus: &cpus,
            layout,
            error_sources: true,
        };
        assert_eq!(machine.build(), Err(AcpiError::Layout { layout, memory }));
    }
    let error = AcpiError::Layout {
        layout: AcpiLayout::at(RAM_BASE + 4096),
        memory,
    };
    assert_eq!(
        error.to_string(),
        "Expected two regions of RAM (0x80000000, 0x1000000 bytes), each a multiple of 0x10000, for the ACPI tables and the \
         GHES region but received 0x80001000 and 0x80041000"
    );
}
