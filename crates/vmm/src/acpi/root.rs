//! How the tables are found: the RSDP, and the XSDT that it points at.
//!
//! Source: ACPI specification 6.5, sections 5.2.5 and 5.2.8.

use super::table::{OEM_ID, checksum, finish, header};
use crate::little_endian::LittleEndian;

pub(super) fn xsdt(tables: &[u64]) -> Vec<u8> {
    finish(
        tables
            .iter()
            .fold(header(*b"XSDT", 1), |fields, table| fields.u64(*table)),
    )
}

/// Its first checksum is that of the 20 bytes which ACPI 1.0 knew.
pub(super) fn rsdp(xsdt: u64) -> Vec<u8> {
    let mut bytes = LittleEndian::default()
        .bytes(b"RSD PTR ")
        .u8(0)
        .bytes(&OEM_ID)
        .u8(2)
        .u32(0)
        .u32(36)
        .u64(xsdt)
        .zeros_to(36)
        .into_bytes();
    bytes[8] = checksum(&bytes[..20]);
    bytes[32] = checksum(&bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::little_endian::field;

    #[test]
    fn the_pointer_has_two_checksums() {
        let rsdp = rsdp(0x1_0203_0400);
        assert_eq!((rsdp.len(), &rsdp[..8]), (36, b"RSD PTR ".as_slice()));
        assert_eq!((&rsdp[9..15], rsdp[15]), (b"SEAWAL".as_slice(), 2));
        assert_eq!((field(&rsdp, 16, 4), field(&rsdp, 20, 4)), (0, 36));
        assert_eq!(field(&rsdp, 24, 8), 0x1_0203_0400);
        assert_eq!(rsdp[33..], [0; 3]);
        for len in [20, 36] {
            let sum = rsdp[..len].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
            assert_eq!(sum, 0, "of {len} bytes");
        }
        assert_ne!(rsdp[8], 0);
    }

    #[test]
    fn the_tables_are_listed_in_order() {
        let xsdt = xsdt(&[0x8ff0_0400, 0x1_0000_0000]);
        assert_eq!((xsdt.len(), &xsdt[..4], xsdt[8]), (52, b"XSDT".as_slice(), 1));
        assert_eq!(field(&xsdt, 36, 8), 0x8ff0_0400);
        assert_eq!(field(&xsdt, 44, 8), 0x1_0000_0000);
    }
}
