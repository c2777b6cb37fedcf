//! Where things lie in the guest-physical address space.
//!
//! ```text
//! 0x4000_2000  16550 UART, the console, 4 KiB
//! 0x8000_0000  RAM
//! ```

use seawall_kvm::{GuestMemory, GuestMemoryError, KvmError};

use crate::error::VmError;

/// The page granule of guest RAM and of every address KVM reports, in bytes.
pub const PAGE_SIZE: u64 = 4096;
/// The first guest-physical address of RAM.
pub const RAM_BASE: u64 = 0x8000_0000;
/// The first guest-physical address of the console's UART.
pub const SERIAL_BASE: u64 = 0x4000_2000;
/// The size of the console's UART in bytes.
pub const SERIAL_SIZE: u64 = 0x1000;

/// The offset of a guest-physical range in guest RAM.
pub(crate) fn ram_offset(memory: &GuestMemory, gpa: u64, len: usize) -> Result<u64, VmError> {
    let outside = VmError::OutsideGuestMemory {
        gpa,
        len,
        base: RAM_BASE,
        size: memory.len() as u64,
    };
    let Some(offset) = gpa.checked_sub(RAM_BASE) else {
        return Err(outside);
    };
    match offset.checked_add(len as u64) {
        Some(end) if end <= memory.len() as u64 => Ok(offset),
        _ => Err(outside),
    }
}

/// Copies `data` into guest RAM at `gpa`.
pub(crate) fn write(memory: &GuestMemory, gpa: u64, data: &[u8]) -> Result<(), VmError> {
    let offset = ram_offset(memory, gpa, data.len())?;
    memory
        .write(offset, data)
        .map_err(|error| inaccessible(error, gpa))
}

/// The error of a copy at `gpa`.
pub(crate) fn inaccessible(error: GuestMemoryError, gpa: u64) -> VmError {
    match error {
        GuestMemoryError::SignalHandler => VmError::Kvm(KvmError::SignalHandler),
        GuestMemoryError::Inaccessible { offset, .. } => VmError::InaccessibleGuestMemory {
            gpa: RAM_BASE + offset,
        },
        GuestMemoryError::OutOfRange { len, size, .. } => VmError::OutsideGuestMemory {
            gpa,
            len,
            base: RAM_BASE,
            size: size as u64,
        },
    }
}
