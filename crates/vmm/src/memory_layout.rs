//! Where things lie in the guest-physical address space, and which interrupts they have.
//!
//! ```text
//!              GICv3 Redistributors, 128 KiB for each vCPU, up to the Distributor
//! 0x3fff_0000  GICv3 Distributor, 64 KiB
//! 0x4000_2000  16550 UART, the console, 4 KiB
//! 0x4000_3000  16550 UART, the line to an agent in the guest, 4 KiB, where the guest is told of lost pages by that
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
/// The first guest-physical address of the UART that an agent in the guest talks by; it is as large as the console's.
pub const AGENT_BASE: u64 = 0x4000_3000;

/// The shared peripheral interrupt of the console's UART, counted from [`FIRST_SPI`] on.
pub const SERIAL_SPI: u32 = 1;
/// The shared peripheral interrupt that says that there is a record of a lost page, counted from [`FIRST_SPI`] on.
pub const GHES_SPI: u32 = 2;
/// The shared peripheral interrupt of the agent's UART, counted from [`FIRST_SPI`] on.
pub const AGENT_SPI: u32 = 3;
/// The INTID of the first shared peripheral interrupt (Arm IHI 0069, "INTIDs").
pub const FIRST_SPI: u32 = 32;
/// The INTID of the first private peripheral interrupt.
pub const FIRST_PPI: u32 = 16;
/// PPIs of the timer, counted from [`FIRST_PPI`] on: secure physical, physical, virtual, hypervisor (BSA, table 4).
pub const TIMER_PPIS: [u32; 4] = [13, 14, 11, 10];
/// The affinity fields of MPIDR_EL1, by which a CPU is known (Arm ARM D19.2.104).
pub const MPIDR_AFFINITY: u64 = 0x00ff_00ff_ffff;
/// The first guest-physical address of the GIC's Distributor.
pub const GIC_DISTRIBUTOR_BASE: u64 = 0x3fff_0000;
/// The size of the GIC's Distributor in bytes.
pub const GIC_DISTRIBUTOR_SIZE: u64 = 0x1_0000;
/// The size of each Redistributor in bytes.
pub const GIC_REDISTRIBUTOR_SIZE: u64 = 0x2_0000;
/// How many interrupts the GIC has, with the 32 private ones.
pub const GIC_INTERRUPTS: u32 = 64;

/// The first guest-physical address of the GIC's Redistributors.
#[must_use]
pub const fn gic_redistributors(vcpus: u64) -> u64 {
    GIC_DISTRIBUTOR_BASE - vcpus * GIC_REDISTRIBUTOR_SIZE
}

/// The offset of a guest-physical range in guest RAM of `memory` bytes, if it lies there.
pub(crate) fn offset(memory: u64, gpa: u64, len: u64) -> Option<u64> {
    let offset = gpa.checked_sub(RAM_BASE)?;
    (offset.checked_add(len)? <= memory).then_some(offset)
}

/// The offset of a guest-physical range in guest RAM.
pub(crate) fn ram_offset(memory: &GuestMemory, gpa: u64, len: usize) -> Result<u64, VmError> {
    let size = memory.len() as u64;
    offset(size, gpa, len as u64).ok_or(VmError::OutsideGuestMemory {
        gpa,
        len,
        base: RAM_BASE,
        size,
    })
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
