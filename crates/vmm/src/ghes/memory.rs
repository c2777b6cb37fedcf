//! How the region is read and written: by guest-physical address, and by the guarded copy alone.

use seawall_kvm::GuestMemory;

use crate::error::VmError;
use crate::memory_layout;

/// The memory that the region lies in.
pub trait RegionMemory {
    /// Copies what lies at a guest-physical address into `buffer`.
    ///
    /// # Errors
    /// [`VmError::OutsideGuestMemory`], [`VmError::InaccessibleGuestMemory`].
    fn read_at(&self, gpa: u64, buffer: &mut [u8]) -> Result<(), VmError>;

    /// Copies `bytes` to a guest-physical address.
    ///
    /// # Errors
    /// [`VmError::OutsideGuestMemory`], [`VmError::InaccessibleGuestMemory`].
    fn write_at(&self, gpa: u64, bytes: &[u8]) -> Result<(), VmError>;
}

impl RegionMemory for GuestMemory {
    fn read_at(&self, gpa: u64, buffer: &mut [u8]) -> Result<(), VmError> {
        memory_layout::read(self, gpa, buffer)
    }

    fn write_at(&self, gpa: u64, bytes: &[u8]) -> Result<(), VmError> {
        memory_layout::write(self, gpa, bytes)
    }
}
