//! Getting a guest to its first instruction.

mod flat;

use seawall_kvm::{GuestMemory, RegId};

use crate::error::VmError;
use crate::options::Boot;

/// The registers that the first vCPU starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BootRegisters(pub(crate) Vec<(RegId, u64)>);

/// Puts the guest's image into memory and says how to start it.
pub(crate) fn load(boot: &Boot, memory: &GuestMemory) -> Result<BootRegisters, VmError> {
    match boot {
        Boot::Flat {
            image,
            load_address,
            entry,
        } => flat::load(image, *load_address, *entry, memory),
    }
}
