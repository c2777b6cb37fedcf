//! Getting a guest to its first instruction.

mod error;
mod file;
mod flat;
mod linux;

use std::sync::{Mutex, PoisonError};

use seawall_kvm::{GuestMemory, GuestMemoryError, MemoryErrorSignal, RegId};

use crate::error::VmError;
use crate::memory_layout;
use crate::options::Boot;
use crate::sea::{Ledger, NotifyGuest};
use flat::{FlatSource, PreparedFlat};
use linux::{LinuxSource, PreparedLinux};

pub use error::BootError;

/// EL1h with D, A, I and F masked: the state a boot loader hands over in (Arm ARM D1.2.1, SPSR_EL1; booting.rst of Linux).
const PSTATE_AT_ENTRY: u64 = 0x3c5;

/// The registers that the first vCPU starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BootRegisters(pub(crate) Vec<(RegId, u64)>);

/// What a guest starts with, each file opened: it is read at each boot, whatever becomes of its name.
#[derive(Debug)]
pub(crate) enum BootSource {
    Flat(FlatSource),
    Linux(LinuxSource),
}

impl BootSource {
    /// Opens what a guest starts with, which is to be told of its lost pages in this way.
    pub(crate) fn open(boot: &Boot, notify: NotifyGuest) -> Result<Self, BootError> {
        Ok(match boot {
            Boot::Flat {
                image,
                load_address,
                entry,
            } => Self::Flat(FlatSource::open(image, *load_address, *entry)?),
            Boot::Linux(boot) => Self::Linux(LinuxSource::open(boot, notify)?),
        })
    }

    /// Reads it for a guest with `memory` bytes of RAM, and finds a place for it.
    pub(crate) fn read(&self, memory: u64) -> Result<PreparedBoot<'_>, BootError> {
        Ok(match self {
            Self::Flat(flat) => PreparedBoot::Flat(flat.read(memory)?),
            Self::Linux(linux) => PreparedBoot::Linux(Box::new(linux.read(memory)?)),
        })
    }
}

/// What a guest starts with, read and checked, and not in its memory yet.
#[derive(Debug)]
pub(crate) enum PreparedBoot<'a> {
    Flat(PreparedFlat<'a>),
    Linux(Box<PreparedLinux<'a>>),
}

impl PreparedBoot<'_> {
    /// Where the GHES region is, if the guest can be told of lost pages.
    pub(crate) fn ghes_region(&self) -> Option<u64> {
        match self {
            Self::Flat(_) => None,
            Self::Linux(linux) => linux.ghes_region(),
        }
    }

    /// Puts it into memory and says how to start it. `cpus` are the values of MPIDR_EL1.
    pub(crate) fn place(&self, memory: &BootMemory<'_>, cpus: &[u64]) -> Result<BootRegisters, PlaceError> {
        match self {
            Self::Flat(flat) => flat.place(memory),
            Self::Linux(linux) => linux.place(memory, cpus),
        }
    }
}

/// Guest RAM as a boot writes it: but for its lost pages.
#[derive(Debug)]
pub(crate) struct BootMemory<'a> {
    pub(crate) memory: &'a GuestMemory,
    pub(crate) ledger: &'a Mutex<Ledger>,
}

impl BootMemory<'_> {
    /// Copies `data` to `gpa`, if no byte of the range is on a lost page.
    fn write(&self, gpa: u64, data: &[u8]) -> Result<(), PlaceError> {
        let offset = memory_layout::ram_offset(self.memory, gpa, data.len())?;
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(page) = ledger.lost(gpa, data.len() as u64) {
            return Err(VmError::poisoned(page).into());
        }
        drop(ledger);
        self.memory
            .write(offset, data)
            .map_err(|error| PlaceError::new(error, gpa))
    }
}

/// Why a guest was not put into its memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlaceError {
    pub(crate) error: VmError,
    /// The memory error that a copy met, where that is why.
    pub(crate) lost: Option<MemoryErrorSignal>,
}

impl PlaceError {
    /// The error of a copy to `gpa`.
    fn new(error: GuestMemoryError, gpa: u64) -> Self {
        Self {
            lost: match error {
                GuestMemoryError::Inaccessible { error, .. } => error,
                GuestMemoryError::OutOfRange { .. } | GuestMemoryError::SignalHandler => None,
            },
            error: memory_layout::inaccessible(error, gpa),
        }
    }
}

impl From<VmError> for PlaceError {
    fn from(error: VmError) -> Self {
        Self { error, lost: None }
    }
}

impl From<PlaceError> for VmError {
    fn from(PlaceError { error, .. }: PlaceError) -> Self {
        error
    }
}

#[cfg(test)]
mod tests {
    use seawall_kvm::SignalCode;

    use super::*;
    use crate::memory_layout::RAM_BASE;

    #[test]
    fn a_page_without_memory_behind_it_is_no_lost_page() {
        let signal = MemoryErrorSignal {
            code: SignalCode::ActionRequired,
            offset: 0x3000,
            lsb: 12,
        };
        for lost in [Some(signal), None] {
            let error = GuestMemoryError::Inaccessible {
                offset: 0x3000,
                error: lost,
            };
            let gpa = RAM_BASE + 0x3000;
            let error_of_vm = VmError::InaccessibleGuestMemory { gpa };
            assert_eq!(
                PlaceError::new(error, RAM_BASE),
                PlaceError {
                    error: error_of_vm,
                    lost
                }
            );
        }
    }
}
