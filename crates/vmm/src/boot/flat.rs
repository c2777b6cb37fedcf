//! A flat binary: its bytes at one address, entered at another.

use seawall_kvm::{Errno, GuestMemory, RegId};

use crate::boot::BootRegisters;
use crate::error::VmError;
use crate::memory_layout::{self, RAM_BASE};
use crate::options::Image;

/// EL1h with D, A, I and F masked: the state a boot loader hands over in (Arm ARM D1.2.1, SPSR_EL1).
const PSTATE_AT_ENTRY: u64 = 0x3c5;
/// The size of an A64 instruction in bytes.
const INSTRUCTION_SIZE: u64 = 4;

pub(super) fn load(
    image: &Image,
    load_address: Option<u64>,
    entry: Option<u64>,
    memory: &GuestMemory,
) -> Result<BootRegisters, VmError> {
    let read;
    let bytes = match image {
        Image::Bytes(bytes) => bytes,
        Image::Path(path) => {
            read = std::fs::read(path).map_err(|error| VmError::UnreadableImage {
                path: path.clone(),
                errno: Errno(error.raw_os_error().unwrap_or(0)),
            })?;
            &read
        }
    };
    if (bytes.len() as u64) < INSTRUCTION_SIZE {
        return Err(VmError::EmptyImage { len: bytes.len() });
    }
    let load_address = load_address.unwrap_or(RAM_BASE);
    let entry = entry.unwrap_or(load_address);
    let size = memory.len() as u64;
    if memory_layout::ram_offset(memory, load_address, bytes.len()).is_err() {
        return Err(VmError::ImageOutsideMemory {
            load_address,
            len: bytes.len(),
            size,
        });
    }
    let last_instruction = load_address + bytes.len() as u64 - INSTRUCTION_SIZE;
    if !entry.is_multiple_of(INSTRUCTION_SIZE) || !(load_address..=last_instruction).contains(&entry) {
        return Err(VmError::EntryOutsideImage {
            entry,
            load_address,
            len: bytes.len(),
        });
    }
    memory_layout::write(memory, load_address, bytes)?;
    Ok(BootRegisters(vec![
        (RegId::PSTATE, PSTATE_AT_ENTRY),
        (RegId::PC, entry),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(len: usize, load: Option<u64>, entry: Option<u64>) -> Result<BootRegisters, VmError> {
        let memory = GuestMemory::create(8192, None).expect("memory");
        super::load(&Image::Bytes(vec![0xaa; len]), load, entry, &memory)
    }

    #[test]
    fn the_image_lies_at_its_address_and_the_guest_starts_at_the_entry() {
        let memory = GuestMemory::create(8192, None).expect("memory");
        let image = Image::Bytes(b"12345678".to_vec());
        let registers = load(&image, Some(0x8000_1000), Some(0x8000_1004), &memory).expect("valid");
        assert_eq!(registers.0, [(RegId::PSTATE, 0x3c5), (RegId::PC, 0x8000_1004)]);
        let mut bytes = [0; 8];
        memory.read(0x1000, &mut bytes).expect("inside");
        assert_eq!(&bytes, b"12345678");
    }

    #[test]
    fn without_addresses_the_image_starts_at_the_start_of_ram() {
        assert_eq!(boot(8, None, None).expect("valid").0[1], (RegId::PC, RAM_BASE));
    }

    #[test]
    fn an_image_larger_than_memory_is_refused() {
        let error = boot(8196, None, None).expect_err("too large");
        assert!(
            matches!(
                error,
                VmError::ImageOutsideMemory {
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
            assert!(matches!(error, VmError::ImageOutsideMemory { .. }), "{error}");
        }
    }

    #[test]
    fn an_entry_outside_the_image_is_refused() {
        for entry in [RAM_BASE - 4, RAM_BASE + 2, RAM_BASE + 8, u64::MAX - 3] {
            let error = boot(8, None, Some(entry)).expect_err("outside");
            assert!(matches!(error, VmError::EntryOutsideImage { .. }), "{error}");
        }
    }

    #[test]
    fn an_image_without_an_instruction_is_refused() {
        assert_eq!(boot(3, None, None), Err(VmError::EmptyImage { len: 3 }));
    }

    #[test]
    fn a_missing_file_names_itself() {
        let memory = GuestMemory::create(4096, None).expect("memory");
        let error =
            load(&Image::Path("/nowhere/guest.bin".into()), None, None, &memory).expect_err("missing");
        assert_eq!(
            error.to_string(),
            "Expected a readable file for boot.image but received \"/nowhere/guest.bin\" (ENOENT)"
        );
    }
}
