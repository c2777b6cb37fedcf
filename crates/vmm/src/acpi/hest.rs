//! The HEST: where records of lost pages are left, and how the guest is told that there is one.
//!
//! Source: ACPI specification 6.5, sections 18.3.2.8 (GHESv2) and 18.3.2.9 (hardware error notification).

use super::table::{AccessWidth, finish, header, register};
use crate::ghes::Source;
use crate::little_endian::LittleEndian;
use crate::memory_layout::{FIRST_SPI, GHES_SPI};

const GHES_V2: u16 = 10;
const NO_RELATED_SOURCE: u16 = 0xffff;
/// Notification types.
const ARMV8_SEA: u8 = 8;
const GSIV: u8 = 10;
/// Of the read acknowledge register the guest keeps all bits but this one, and sets it.
const ACKNOWLEDGE: u64 = 1;

/// `region` is the address of the GHES region.
pub(super) fn hest(region: u64) -> Vec<u8> {
    let count = u32::try_from(Source::ALL.len()).unwrap_or(u32::MAX);
    let fields = header(*b"HEST", 1).u32(count);
    let sources = Source::ALL.iter();
    finish(sources.fold(fields, |fields, source| {
        fields.bytes(&error_source(*source, region))
    }))
}

fn error_source(source: Source, region: u64) -> Vec<u8> {
    let (notification, vector) = match source {
        Source::Sea => (ARMV8_SEA, 0),
        Source::Gsiv => (GSIV, FIRST_SPI + GHES_SPI),
    };
    let sections = u32::try_from(source.max_sections()).unwrap_or(u32::MAX);
    LittleEndian::default()
        .u16(GHES_V2)
        .u16(source.id())
        .u16(NO_RELATED_SOURCE)
        .u8(0)
        .u8(1)
        .u32(1)
        .u32(sections)
        .u32(source.status_block_len())
        .bytes(&register(AccessWidth::QuadWord, source.address_register(region)))
        .u8(notification)
        .u8(28)
        .u16(0)
        .u32(0)
        .u32(vector)
        .zeros_to(60)
        .u32(source.status_block_len())
        .bytes(&register(AccessWidth::QuadWord, source.read_ack(region)))
        .u64(!ACKNOWLEDGE)
        .u64(ACKNOWLEDGE)
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::little_endian::field;

    #[test]
    fn there_is_a_source_by_exception_and_one_by_interrupt() {
        let region = 0x8ff1_0000;
        let hest = hest(region);
        assert_eq!(
            (hest.len(), &hest[..4], hest[8]),
            (40 + 2 * 92, b"HEST".as_slice(), 1)
        );
        assert_eq!(field(&hest, 36, 4), 2);
        for (id, notification, vector, block, sections) in [(0, 8, 0, 0xe000, 377), (1, 10, 34, 0x1000, 16)] {
            let ghes = &hest[40 + 92 * id..][..92];
            let id = id as u64;
            assert_eq!(field(ghes, 0, 2), 10, "GHESv2");
            assert_eq!(field(ghes, 2, 2), id);
            assert_eq!(field(ghes, 4, 2), 0xffff);
            assert_eq!((ghes[6], ghes[7]), (0, 1), "flags, enabled");
            assert_eq!(field(ghes, 8, 4), 1, "records");
            assert_eq!(field(ghes, 12, 4), sections);
            assert_eq!(field(ghes, 16, 4), block, "raw data");
            assert_eq!(&ghes[20..24], [0, 64, 0, 4]);
            assert_eq!(field(ghes, 24, 8), region + 8 * id, "address register");
            assert_eq!((ghes[32], ghes[33]), (notification, 28));
            assert_eq!(field(ghes, 34, 2), 0);
            assert_eq!(field(ghes, 36, 4), 0, "not polled");
            assert_eq!(field(ghes, 40, 4), vector);
            assert!(ghes[44..60].iter().all(|byte| *byte == 0));
            assert_eq!(field(ghes, 60, 4), block, "status block");
            assert_eq!(&ghes[64..68], [0, 64, 0, 4]);
            assert_eq!(field(ghes, 68, 8), region + 0x100 + 8 * id, "read ack register");
            assert_eq!(field(ghes, 76, 8), 0xffff_ffff_ffff_fffe);
            assert_eq!(field(ghes, 84, 8), 1);
        }
    }
}
