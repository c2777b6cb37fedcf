//! The kernel's side: finds the HEST from the system table on, as a kernel does, and reads records by what it says alone.

use super::ram::Ram;
use crate::little_endian::field;

/// Notification types of the HEST.
const SEA: u8 = 8;
const GSIV: u8 = 10;
/// The GUID of a memory error section.
const MEMORY_ERROR: u128 = 0x1411_bca5_646f_de4e_b863_3e83_ed7c_83b1;

/// An error source as the HEST has it.
#[derive(Debug)]
struct ErrorSource {
    notification: u8,
    address_register: u64,
    block_len: usize,
    ack: u64,
    preserve: u64,
    write: u64,
}

/// A guest's kernel.
#[derive(Debug)]
pub(super) struct Guest {
    sources: Vec<ErrorSource>,
    /// A kernel drops a record that it has had in the last 10 seconds.
    seen: Vec<Vec<u8>>,
}

impl Guest {
    pub(super) fn boot(ram: &Ram, system_table: u64) -> Self {
        let configuration = ram.peek_u64(system_table + 112);
        let xsdt = ram.peek_u64(ram.peek_u64(configuration + 16) + 24);
        let tables = (36..u64::from(ram.peek_u32(xsdt + 4))).step_by(8);
        let hest = tables
            .map(|at| ram.peek_u64(xsdt + at))
            .find(|table| ram.peek(*table, 4) == b"HEST")
            .expect("a HEST");
        let count = u64::from(ram.peek_u32(hest + 36));
        let sources = (0..count).map(|index| {
            let ghes = ram.peek(hest + 40 + index * 92, 92);
            assert_eq!((field(&ghes, 0, 2), ghes[7]), (10, 1), "an enabled GHESv2");
            ErrorSource {
                notification: ghes[32],
                address_register: field(&ghes, 24, 8),
                block_len: usize::try_from(field(&ghes, 60, 4)).expect("small"),
                ack: field(&ghes, 68, 8),
                preserve: field(&ghes, 76, 8),
                write: field(&ghes, 84, 8),
            }
        });
        Self {
            sources: sources.collect(),
            seen: Vec::new(),
        }
    }

    /// Takes an abort at EL0. Returns the pages that it retires, in its order: the last section of a record first.
    pub(super) fn abort(&mut self, ram: &Ram) -> Vec<u64> {
        let mut pages = self.drain(ram, SEA);
        pages.reverse();
        pages
    }

    /// Takes the interrupt of the generic event device. Returns the pages that it retires.
    pub(super) fn interrupt(&mut self, ram: &Ram) -> Vec<u64> {
        let pages = self.drain(ram, GSIV);
        assert!(pages.len() <= 16, "the queue of memory_failure_queue() overflows");
        pages
    }

    fn drain(&mut self, ram: &Ram, notification: u8) -> Vec<u64> {
        let sources = self
            .sources
            .iter()
            .filter(|source| source.notification == notification);
        let mut pages = Vec::new();
        for source in sources {
            let block = ram.peek_u64(source.address_register);
            if ram.peek_u32(block) == 0 {
                continue;
            }
            let len = 20 + usize::try_from(ram.peek_u32(block + 12)).expect("small");
            assert!(len <= source.block_len, "the record is longer than its block");
            let record = ram.peek(block, len);
            ram.poke(block, &[0; 4]);
            let ack = ram.peek_u64(source.ack) & source.preserve | source.write;
            ram.poke(source.ack, &ack.to_le_bytes());
            pages.extend(sections(&record));
            assert!(!self.seen.contains(&record), "a record that it has had already");
            self.seen.push(record);
        }
        pages
    }

    /// Makes every source free, as a guest that knows what it does.
    pub(super) fn free_all(&self, ram: &Ram) {
        for source in &self.sources {
            ram.poke(ram.peek_u64(source.address_register), &[0; 4]);
            ram.poke(source.ack, &1_u64.to_le_bytes());
        }
    }
}

/// The addresses that a record names. Whatever a kernel would not take for a lost page of RAM is a failure.
fn sections(record: &[u8]) -> Vec<u64> {
    assert_eq!(field(record, 16, 4), 0, "recoverable");
    let sections: Vec<&[u8]> = record[20..].chunks(152).collect();
    assert_eq!(field(record, 0, 4), 1 | (sections.len() as u64) << 4);
    let addresses = sections.iter().map(|section| {
        assert_eq!(section.len(), 152);
        let guid: [u8; 16] = section[..16].try_into().expect("16 bytes");
        assert_eq!(u128::from_be_bytes(guid), MEMORY_ERROR);
        assert_eq!(field(section, 16, 4), 0, "recoverable");
        assert_eq!((field(section, 20, 2), field(section, 24, 4)), (0x0300, 80));
        assert_ne!(field(section, 72, 8) & 2, 0, "the address is valid");
        field(section, 88, 8)
    });
    addresses.collect()
}
