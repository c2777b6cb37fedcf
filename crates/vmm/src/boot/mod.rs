//! Getting a guest to its first instruction.

mod error;
mod file;
mod flat;
mod linux;

use seawall_kvm::{GuestMemory, RegId};

use crate::error::VmError;
use crate::options::Boot;
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
    /// Opens what a guest starts with.
    pub(crate) fn open(boot: &Boot) -> Result<Self, BootError> {
        Ok(match boot {
            Boot::Flat {
                image,
                load_address,
                entry,
            } => Self::Flat(FlatSource::open(image, *load_address, *entry)?),
            Boot::Linux(boot) => Self::Linux(LinuxSource::open(boot)?),
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
    /// Puts it into memory and says how to start it. `cpus` are the values of MPIDR_EL1.
    pub(crate) fn place(&self, memory: &GuestMemory, cpus: &[u64]) -> Result<BootRegisters, VmError> {
        match self {
            Self::Flat(flat) => flat.place(memory),
            Self::Linux(linux) => linux.place(memory, cpus),
        }
    }
}
