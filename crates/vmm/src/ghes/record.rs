//! A record of lost pages: a generic error status block with one CPER memory error section for each page.
//!
//! Source: ACPI specification 6.5, 18.3.2.7.1 (status block, data entry of revision 3); UEFI specification 2.10, N.2.5 (memory
//! error section).

use crate::little_endian::LittleEndian;
use crate::memory_layout::PAGE_SIZE;

const BLOCK_HEADER: usize = 20;
const SECTION: usize = 72 + MEMORY_ERROR;
const MEMORY_ERROR: usize = 80;

/// Of the block: there is an uncorrectable error; the number of sections follows from bit 4 on.
const UNCORRECTABLE: u32 = 1;
/// Of the block and of each section. Software can go on without the page; a fatal error would be the guest's panic.
const RECOVERABLE: u32 = 0;
/// EFI_ERROR_SECTION_PLATFORM_MEMORY, a5bc1114-6f64-4ede-b863-3e83ed7c83b1.
const PLATFORM_MEMORY: [u8; 16] = [
    0x14, 0x11, 0xbc, 0xa5, 0x64, 0x6f, 0xde, 0x4e, 0xb8, 0x63, 0x3e, 0x83, 0xed, 0x7c, 0x83, 0xb1,
];
const DATA_ENTRY_REVISION: u16 = 0x0300;
/// Of the memory error: the status, the address, its mask and the type are there.
const VALID: u64 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14;
/// Error status: an error of DRAM storage.
const STORAGE_ERROR: u64 = 4 << 8;
/// Memory error type.
const MULTI_BIT_ECC: u8 = 3;

/// How many sections a block of this size has room for.
pub(super) const fn sections_in(block: usize) -> usize {
    (block - BLOCK_HEADER) / SECTION
}

/// The record of these pages, given by their addresses. `number` makes it another than those before: a kernel drops a record
/// that is the same as one of the last 10 seconds.
pub(super) fn record(pages: &[u64], number: u64) -> Vec<u8> {
    // A block holds 377 at most.
    let sections = u32::try_from(pages.len()).unwrap_or(u32::MAX);
    let data_len = u32::try_from(pages.len() * SECTION).unwrap_or(u32::MAX);
    let header = LittleEndian::with_capacity(BLOCK_HEADER + pages.len() * SECTION)
        .u32(UNCORRECTABLE | sections << 4)
        .u32(0)
        .u32(0)
        .u32(data_len)
        .u32(RECOVERABLE);
    let record = pages
        .iter()
        .fold(header, |record, page| record.bytes(&section(*page, number)));
    record.into_bytes()
}

/// The time of an error has a validity bit, which is clear here: nobody reads the number as a time.
fn section(page: u64, number: u64) -> Vec<u8> {
    LittleEndian::with_capacity(SECTION)
        .bytes(&PLATFORM_MEMORY)
        .u32(RECOVERABLE)
        .u16(DATA_ENTRY_REVISION)
        .u8(0)
        .u8(0)
        .u32(80)
        .zeros_to(64)
        .u64(number)
        .u64(VALID)
        .u64(STORAGE_ERROR)
        .u64(page)
        .u64(!(PAGE_SIZE - 1))
        .zeros_to(72 + 72)
        .u8(MULTI_BIT_ECC)
        .zeros_to(SECTION)
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::little_endian::field;

    #[test]
    fn one_page_is_172_bytes() {
        let record = record(&[0x8228_6000], 7);
        assert_eq!(record.len(), 172);
        let expected = [
            (0, 4, 0x11, "uncorrectable, one entry"),
            (4, 8, 0, "no raw data"),
            (12, 4, 152, "data length"),
            (16, 4, 0, "recoverable"),
            (36, 4, 0, "recoverable"),
            (40, 2, 0x0300, "revision"),
            (42, 2, 0, "no FRU, no time, no flags"),
            (44, 4, 80, "length of the section"),
            (84, 8, 7, "number"),
            (92, 8, 0x4007, "what is valid"),
            (100, 8, 0x400, "DRAM"),
            (108, 8, 0x8228_6000, "address"),
            (116, 8, 0xffff_ffff_ffff_f000, "a page"),
            (164, 8, 3, "multi-bit ECC"),
        ];
        for (offset, len, value, what) in expected {
            assert_eq!(field(&record, offset, len), value, "{what}");
        }
        let guid: [u8; 16] = record[20..36].try_into().expect("16 bytes");
        assert_eq!(
            u128::from_be_bytes(guid),
            0x1411_bca5_646f_de4e_b863_3e83_ed7c_83b1
        );
        let zero = [48..84, 124..164].into_iter().flatten();
        assert!(zero.into_iter().all(|offset| record[offset] == 0));
    }

    #[test]
    fn the_data_length_is_that_of_all_sections() {
        for sections in [1, 2, 15, 16, 377] {
            let pages: Vec<u64> = (0..sections).map(|page| 0x8000_0000 + page * 4096).collect();
            let record = record(&pages, 1);
            assert_eq!(record.len() as u64, 20 + sections * 152);
            assert_eq!(field(&record, 0, 4), 1 | sections << 4);
            assert_eq!(field(&record, 12, 4), sections * 152);
            for (index, page) in pages.iter().enumerate() {
                assert_eq!(field(&record, 20 + 152 * index + 88, 8), *page);
            }
        }
    }

    #[test]
    fn a_record_is_never_the_same_twice() {
        assert_ne!(record(&[0x8000_0000], 1), record(&[0x8000_0000], 2));
    }
}
