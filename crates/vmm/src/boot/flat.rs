//! A flat binary: its bytes at one address, entered at another.

use std::borrow::Cow;

use seawall_kvm::RegId;

use crate::boot::file::BootFile;
use crate::boot::{BootError, BootMemory, BootRegisters, PSTATE_AT_ENTRY, PlaceError};
use crate::memory_layout::{self, RAM_BASE};
use crate::options::Image;

/// The size of an A64 instruction in bytes.
const INSTRUCTION_SIZE: u64 = 4;

/// A flat binary, and where it is to go.
#[derive(Debug)]
pub(crate) struct FlatSource {
    image: ImageSource,
    load_address: u64,
    entry: u64,
}

#[derive(Debug)]
enum ImageSource {
    Bytes(Vec<u8>),
    File(BootFile),
}

/// A flat binary that fits where it is to go.
#[derive(Debug)]
pub(crate) struct PreparedFlat<'a> {
    bytes: Cow<'a, [u8]>,
    load_address: u64,
    entry: u64,
}

impl FlatSource {
    pub(super) fn open(
        image: &Image,
        load_address: Option<u64>,
        entry: Option<u64>,
    ) -> Result<Self, BootError> {
        let image = match image {
            Image::Bytes(bytes) => ImageSource::Bytes(bytes.clone()),
            Image::Path(path) => ImageSource::File(BootFile::open(path, "boot.image")?),
        };
        let load_address = load_address.unwrap_or(RAM_BASE);
        Ok(Self {
            image,
            load_address,
            entry: entry.unwrap_or(load_address),
        })
    }

    /// Reads and checks it. `memory` is the size of guest RAM in bytes.
    pub(super) fn read(&self, memory: u64) -> Result<PreparedFlat<'_>, BootError> {
        let &Self {
            ref image,
            load_address,
            entry,
        } = self;
        let bytes = match image {
            ImageSource::Bytes(bytes) => Cow::Borrowed(bytes.as_slice()),
            ImageSource::File(file) => Cow::Owned(file.read(memory)?),
        };
        if (bytes.len() as u64) < INSTRUCTION_SIZE {
            return Err(BootError::EmptyImage { len: bytes.len() });
        }
        if memory_layout::offset(memory, load_address, bytes.len() as u64).is_none() {
            return Err(BootError::ImageOutsideMemory {
                load_address,
                len: bytes.len(),
                size: memory,
            });
        }
        let last_instruction = load_address + bytes.len() as u64 - INSTRUCTION_SIZE;
        if !entry.is_multiple_of(INSTRUCTION_SIZE) || !(load_address..=last_instruction).contains(&entry) {
            return Err(BootError::EntryOutsideImage {
                entry,
                load_address,
                len: bytes.len(),
            });
        }
        Ok(PreparedFlat {
            bytes,
            load_address,
            entry,
        })
    }
}

impl PreparedFlat<'_> {
    pub(super) fn place(&self, memory: &BootMemory<'_>) -> Result<BootRegisters, PlaceError> {
        memory.write(self.load_address, &self.bytes)?;
        Ok(BootRegisters(vec![
            (RegId::PSTATE, PSTATE_AT_ENTRY),
            (RegId::PC, self.entry),
        ]))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use seawall_kvm::GuestMemory;

    use super::*;
    use crate::sea::Ledger;

    /// The load address and the entry of an image, where it fits.
    fn boot(len: usize, load: Option<u64>, entry: Option<u64>) -> Result<(u64, u64), BootError> {
        let source = FlatSource::open(&Image::Bytes(vec![0xaa; len]), load, entry)?;
        let prepared = source.read(8192)?;
        Ok((prepared.load_address, prepared.entry))
    }

    #[test]
    fn the_image_lies_at_its_address_and_the_guest_starts_at_the_entry() {
        let memory = GuestMemory::create(8192, None).expect("memory");
        let image = Image::Bytes(b"12345678".to_vec());
        let source = FlatSource::open(&image, Some(0x8000_1000), Some(0x8000_1004)).expect("bytes");
        let prepared = source.read(8192).expect("valid");
        let boot_memory = BootMemory {
            memory: &memory,
            ledger: &Mutex::new(Ledger::of_ram(8192)),
        };
        let registers = prepared.place(&boot_memory).expect("memory");
        assert_eq!(registers.0, [(RegId::PSTATE, 0x3c5), (RegId::PC, 0x8000_1004)]);
        let mut bytes = [0; 8];
        memory.read(0x1000, &mut bytes).expect("inside");
        assert_eq!(&bytes, b"12345678");
    }

    #[test]
    fn without_addresses_the_image_starts_at_the_start_of_ram() {
        assert_eq!(boot(8, None, None), Ok((RAM_BASE, RAM_BASE)));
    }

    #[test]
    fn an_image_larger_than_memory_is_refused() {
        let error = boot(8196, None, None).expect_err("too large");
        assert!(
            matches!(
                error,
                BootError::ImageOutsideMemory {
                    len: 8196,
                    size: 8192,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn an_image_outside_memory_is_refused() {
        for load in [0, RAM_BASE - 4, RAM_BASE + 8192, u64::MAX] {
            let error = boot(8, Some(load), None).expect_err("outside");
            assert!(matches!(error, BootError::ImageOutsideMemory { .. }), "{error}");
        }
    }

    #[test]
    fn an_entry_outside_the_image_is_refused() {
        for entry in [RAM_BASE - 4, RAM_BASE + 2, RAM_BASE + 8, u64::MAX - 3] {
            let error = boot(8, None, Some(entry)).expect_err("outside");
            assert!(matches!(error, BootError::EntryOutsideImage { .. }), "{error}");
        }
    }

    #[test]
    fn an_image_without_an_instruction_is_refused() {
        let error = boot(3, None, None).expect_err("too short");
        assert_eq!(error, BootError::EmptyImage { len: 3 });
    }
}
