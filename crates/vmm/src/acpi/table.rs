//! What all tables have in common: the header, the checksum, addresses of registers.
//!
//! Source: ACPI specification 6.5, sections 5.2.3.2 (Generic Address Structure) and 5.2.6 (System Description Table Header).

use crate::little_endian::LittleEndian;

/// Who made the tables, in every header.
pub(super) const OEM_ID: [u8; 6] = *b"SEAWAL";
const OEM_TABLE_ID: [u8; 8] = *b"SEAWALL ";
const CREATOR_ID: [u8; 4] = *b"SEAW";

/// The beginning of a table, up to its own fields.
pub(super) fn header(signature: [u8; 4], revision: u8) -> LittleEndian {
    LittleEndian::default()
        .bytes(&signature)
        .u32(0)
        .u8(revision)
        .u8(0)
        .bytes(&OEM_ID)
        .bytes(&OEM_TABLE_ID)
        .u32(1)
        .bytes(&CREATOR_ID)
        .u32(1)
}

/// Writes the length and the checksum of a table that is complete.
pub(super) fn finish(table: LittleEndian) -> Vec<u8> {
    let mut bytes = table.into_bytes();
    // No table comes near 4 GiB: the largest has a few bytes for each of 512 CPUs.
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    bytes[4..8].copy_from_slice(&len.to_le_bytes());
    bytes[9] = checksum(&bytes);
    bytes
}

/// The byte that makes the sum of all zero.
pub(super) fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte))
}

/// How wide the accesses to a register are.
#[derive(Debug, Clone, Copy)]
pub(super) enum AccessWidth {
    Byte,
    QuadWord,
}

/// A register in memory (Generic Address Structure, 12 bytes), of one access.
pub(super) fn register(width: AccessWidth, address: u64) -> Vec<u8> {
    const SYSTEM_MEMORY: u8 = 0;
    let (bits, access) = match width {
        AccessWidth::Byte => (8, 1),
        AccessWidth::QuadWord => (64, 4),
    };
    LittleEndian::default()
        .u8(SYSTEM_MEMORY)
        .u8(bits)
        .u8(0)
        .u8(access)
        .u64(address)
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::little_endian::field;

    #[test]
    fn a_header_has_36_bytes_and_its_fields_where_acpi_wants_them() {
        let table = finish(header(*b"TEST", 3).u64(0x1122_3344_5566_7788));
        assert_eq!(table.len(), 44);
        assert_eq!(&table[..4], b"TEST");
        assert_eq!(field(&table, 4, 4), 44, "length");
        assert_eq!(table[8], 3, "revision");
        assert_eq!(&table[10..16], b"SEAWAL");
        assert_eq!(&table[16..24], b"SEAWALL ");
        assert_eq!(field(&table, 24, 4), 1, "OEM revision");
        assert_eq!(&table[28..32], b"SEAW");
        assert_eq!(field(&table, 32, 4), 1, "creator revision");
        assert_eq!(field(&table, 36, 8), 0x1122_3344_5566_7788);
    }

    #[test]
    fn the_sum_of_a_table_is_zero_for_every_content() {
        for value in 0..=255 {
            let table = finish(header(*b"TEST", 1).u8(value).u8(0xff));
            let sum = table.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
            assert_eq!(sum, 0, "{value}");
        }
    }

    #[test]
    fn a_register_is_a_generic_address_structure() {
        assert_eq!(
            register(AccessWidth::Byte, 0x4000_2000),
            [0, 8, 0, 1, 0, 0x20, 0, 0x40, 0, 0, 0, 0]
        );
        assert_eq!(
            register(AccessWidth::QuadWord, 0x1_0203_0405),
            [0, 64, 0, 4, 5, 4, 3, 2, 1, 0, 0, 0]
        );
    }
}
