//! The MADT: the CPUs and the interrupt controller.
//!
//! Source: ACPI specification 6.5, section 5.2.12; GICC as in 6.3 and 6.4, 80 bytes.

use super::table::{finish, header};
use crate::little_endian::LittleEndian;
use crate::memory_layout::{
    GIC_DISTRIBUTOR_BASE, GIC_REDISTRIBUTOR_SIZE, MPIDR_AFFINITY, gic_redistributors,
};

const GICC: u8 = 11;
const GICD: u8 = 12;
const GICR: u8 = 14;
const GIC_VERSION: u8 = 3;
/// GICC flags: the CPU can be used.
const ENABLED: u32 = 1;

/// `cpus` are the values of MPIDR_EL1.
pub(super) fn madt(cpus: &[u64]) -> Vec<u8> {
    let fields = header(*b"APIC", 5).u32(0).u32(0).bytes(&distributor());
    let interfaces = (0..).zip(cpus).map(|(number, mpidr)| interface(number, *mpidr));
    let fields = interfaces.fold(fields, |fields, interface| fields.bytes(&interface));
    finish(fields.bytes(&redistributors(cpus.len() as u64)))
}

fn distributor() -> Vec<u8> {
    LittleEndian::default()
        .u8(GICD)
        .u8(24)
        .zeros_to(8)
        .u64(GIC_DISTRIBUTOR_BASE)
        .u32(0)
        .u8(GIC_VERSION)
        .zeros_to(24)
        .into_bytes()
}

/// A CPU. Where its Redistributor lies is said once for all, by [`redistributors`].
fn interface(number: u32, mpidr: u64) -> Vec<u8> {
    LittleEndian::default()
        .u8(GICC)
        .u8(80)
        .u16(0)
        .u32(number)
        .u32(number)
        .u32(ENABLED)
        .zeros_to(68)
        .u64(mpidr & MPIDR_AFFINITY)
        .zeros_to(80)
        .into_bytes()
}

fn redistributors(cpus: u64) -> Vec<u8> {
    let size = u32::try_from(cpus * GIC_REDISTRIBUTOR_SIZE).unwrap_or(u32::MAX);
    LittleEndian::default()
        .u8(GICR)
        .u8(16)
        .u16(0)
        .u64(gic_redistributors(cpus))
        .u32(size)
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::little_endian::field;

    /// Splits the structures of a table.
    fn structures(table: &[u8]) -> Vec<&[u8]> {
        let mut rest = &table[44..];
        let mut structures = Vec::new();
        while let Some(len) = rest.get(1) {
            let (structure, after) = rest.split_at(usize::from(*len));
            structures.push(structure);
            rest = after;
        }
        structures
    }

    #[test]
    fn every_cpu_has_its_number_and_its_affinity() {
        // Bit 31 is reserved and 1, bit 30 says that there is one CPU alone.
        let cpus = [0x8000_0000, 0xc000_0001, 0x12_8000_0203];
        let madt = madt(&cpus);
        assert_eq!((&madt[..4], madt[8]), (b"APIC".as_slice(), 5));
        assert_eq!(field(&madt, 36, 8), 0);
        let structures = structures(&madt);
        let kinds: Vec<(u8, usize)> = structures.iter().map(|bytes| (bytes[0], bytes.len())).collect();
        assert_eq!(kinds, [(12, 24), (11, 80), (11, 80), (11, 80), (14, 16)]);
        for (number, affinity) in (0..).zip([0, 1, 0x12_0000_0203]) {
            let gicc = structures[number + 1];
            assert_eq!(field(gicc, 4, 4), number as u64);
            assert_eq!(field(gicc, 8, 4), number as u64);
            assert_eq!(field(gicc, 12, 4), 1);
            assert_eq!(field(gicc, 68, 8), affinity);
            assert!(
                gicc[16..68].iter().all(|byte| *byte == 0),
                "no GICv2, no GICR base"
            );
        }
    }

    #[test]
    fn the_interrupt_controller_lies_where_the_device_tree_says() {
        for cpus in [1, 512] {
            let madt = madt(&vec![0; cpus]);
            assert_eq!(madt.len(), 44 + 24 + 80 * cpus + 16);
            let structures = structures(&madt);
            let (gicd, gicr) = (structures[0], structures[cpus + 1]);
            assert_eq!(field(gicd, 8, 8), 0x3fff_0000);
            assert_eq!((field(gicd, 16, 4), gicd[20]), (0, 3));
            let size = cpus as u64 * 0x2_0000;
            assert_eq!(field(gicr, 4, 8), 0x3fff_0000 - size);
            assert_eq!(field(gicr, 12, 4), size);
        }
    }
}
