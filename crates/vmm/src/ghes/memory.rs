//! How the region is read and written: by guest-physical address, and by the guarded copy alone.

use seawall_kvm::{CheckedMemory, GuestMemoryError};

use crate::error::VmError;
use crate::memory_layout::{inaccessible, ram_offset};

/// The memory that the region lies in.
pub trait RegionMemory {
    /// Copies what lies at a guest-physical address into `buffer`.
    ///
    /// # Errors
    /// [`VmError::OutsideGuestMemory`], [`VmError::InaccessibleGuestMemory`], [`VmError::Kvm`].
    fn read_at(&self, gpa: u64, buffer: &mut [u8]) -> Result<(), VmError>;

    /// Copies `bytes` to a guest-physical address.
    ///
    /// # Errors
    /// [`VmError::OutsideGuestMemory`], [`VmError::InaccessibleGuestMemory`], [`VmError::Kvm`].
    fn write_at(&self, gpa: u64, bytes: &[u8]) -> Result<(), VmError>;
}

/// One look at the handler of `SIGBUS` is enough for the few copies of an operation. Where it is not ours none of them happens.
impl RegionMemory for Result<CheckedMemory<'_>, GuestMemoryError> {
    fn read_at(&self, gpa: u64, buffer: &mut [u8]) -> Result<(), VmError> {
        let memory = self.map_err(|error| inaccessible(error, gpa))?;
        let offset = ram_offset(memory.memory(), gpa, buffer.len())?;
        let read = memory.read(offset, buffer);
        read.map_err(|error| inaccessible(error, gpa))
    }

    fn write_at(&self, gpa: u64, bytes: &[u8]) -> Result<(), VmError> {
        let memory = self.map_err(|error| inaccessible(error, gpa))?;
        let offset = ram_offset(memory.memory(), gpa, bytes.len())?;
        let written = memory.write(offset, bytes);
        written.map_err(|error| inaccessible(error, gpa))
    }
}
