//! The device tree that tells the kernel what there is.
//!
//! Source: Devicetree Specification 0.4; the bindings below Documentation/devicetree/bindings of Linux 7.3: arm/cpus.yaml,
//! arm/psci.yaml, interrupt-controller/arm,gic-v3.yaml, timer/arm,arch_timer.yaml, serial/8250.yaml; drivers/firmware/efi/
//! fdtparams.c of Linux 7.3, and of Debian's kernel.

use vm_fdt::{Error, FdtReserveEntry, FdtWriter};

use super::SEED;
use crate::acpi::{AcpiTables, MEMORY_DESCRIPTOR_SIZE, MEMORY_DESCRIPTOR_VERSION};
use crate::memory_layout::{
    AGENT_BASE, AGENT_SPI, GIC_DISTRIBUTOR_BASE, GIC_DISTRIBUTOR_SIZE, GIC_REDISTRIBUTOR_SIZE,
    MPIDR_AFFINITY, RAM_BASE, SERIAL_BASE, SERIAL_SIZE, SERIAL_SPI, TIMER_PPIS, gic_redistributors,
};

/// The interrupt controller's phandle.
const GIC: u32 = 1;
/// Cells of an interrupt (arm,gic-v3.yaml): the type, the number, the flags.
const SPI: u32 = 0;
const PPI: u32 = 1;
const EDGE_RISING: u32 = 1;
const LEVEL_HIGH: u32 = 4;
/// The PPI of the GIC's own maintenance interrupt.
const MAINTENANCE_PPI: u32 = 9;
/// The clock that a 16550 divides, in Hz.
const SERIAL_CLOCK: u32 = 1_843_200;

/// What the device tree says.
#[derive(Debug)]
pub(super) struct DeviceTree<'a> {
    /// The size of RAM in bytes.
    pub(super) memory: u64,
    /// The values of MPIDR_EL1.
    pub(super) cpus: &'a [u64],
    pub(super) command_line: &'a str,
    /// Where the initial RAM disk lies, and its size in bytes.
    pub(super) initrd: Option<(u64, u64)>,
    pub(super) seed: [u8; SEED],
    /// Memory that is none of the guest's, and its size in bytes.
    pub(super) reserved: Option<(u64, u64)>,
    /// What the guest finds of ACPI.
    pub(super) acpi: Option<&'a AcpiTables>,
    /// Whether there is a line to an agent.
    pub(super) agent: bool,
}

impl DeviceTree<'_> {
    /// Writes it as a blob.
    pub(super) fn build(&self) -> Result<Vec<u8>, Error> {
        // A kernel that does not know ACPI or EFI has the memory from here.
        let reserved = self.reserved.into_iter();
        let reserved = reserved.map(|(address, size)| FdtReserveEntry::new(address, size));
        let mut fdt = FdtWriter::new_with_mem_reserv(&reserved.collect::<Result<Vec<_>, Error>>()?)?;
        let root = fdt.begin_node("")?;
        fdt.property_string("compatible", "linux,dummy-virt")?;
        fdt.property_string("model", "seawall")?;
        fdt.property_u32("#address-cells", 2)?;
        fdt.property_u32("#size-cells", 2)?;
        fdt.property_u32("interrupt-parent", GIC)?;
        self.chosen(&mut fdt)?;
        self.aliases(&mut fdt)?;
        self.memory(&mut fdt)?;
        self.cpus(&mut fdt)?;
        psci(&mut fdt)?;
        timer(&mut fdt)?;
        self.interrupt_controller(&mut fdt)?;
        serial(&mut fdt, SERIAL_BASE, SERIAL_SPI)?;
        if self.agent {
            serial(&mut fdt, AGENT_BASE, AGENT_SPI)?;
        }
        fdt.end_node(root)?;
        fdt.finish()
    }

    fn chosen(&self, fdt: &mut FdtWriter) -> Result<(), Error> {
        let chosen = fdt.begin_node("chosen")?;
        fdt.property_string("bootargs", self.command_line)?;
        fdt.property_string("stdout-path", "serial0:115200n8")?;
        fdt.property("rng-seed", &self.seed[8..])?;
        fdt.property("kaslr-seed", &self.seed[..8])?;
        if let Some((start, size)) = self.initrd {
            fdt.property_u64("linux,initrd-start", start)?;
            fdt.property_u64("linux,initrd-end", start + size)?;
        }
        if let Some(acpi) = self.acpi {
            fdt.property_u64("linux,uefi-system-table", acpi.system_table)?;
            fdt.property_u64("linux,uefi-mmap-start", acpi.memory_map.address)?;
            fdt.property_u32("linux,uefi-mmap-size", acpi.memory_map.size)?;
            fdt.property_u32("linux,uefi-mmap-desc-size", MEMORY_DESCRIPTOR_SIZE)?;
            fdt.property_u32("linux,uefi-mmap-desc-ver", MEMORY_DESCRIPTOR_VERSION)?;
            // Debian's kernel takes nothing of UEFI without it. 2 is off.
            fdt.property_u32("linux,uefi-secure-boot", 2)?;
        }
        fdt.end_node(chosen)
    }

    /// By them Linux numbers its ttyS.
    fn aliases(&self, fdt: &mut FdtWriter) -> Result<(), Error> {
        let aliases = fdt.begin_node("aliases")?;
        fdt.property_string("serial0", &format!("/serial@{SERIAL_BASE:x}"))?;
        if self.agent {
            fdt.property_string("serial1", &format!("/serial@{AGENT_BASE:x}"))?;
        }
        fdt.end_node(aliases)
    }

    fn memory(&self, fdt: &mut FdtWriter) -> Result<(), Error> {
        let memory = fdt.begin_node(&format!("memory@{RAM_BASE:x}"))?;
        fdt.property_string("device_type", "memory")?;
        fdt.property_array_u64("reg", &[RAM_BASE, self.memory])?;
        fdt.end_node(memory)
    }

    fn cpus(&self, fdt: &mut FdtWriter) -> Result<(), Error> {
        let cpus = fdt.begin_node("cpus")?;
        fdt.property_u32("#address-cells", 2)?;
        fdt.property_u32("#size-cells", 0)?;
        for mpidr in self.cpus {
            let affinity = mpidr & MPIDR_AFFINITY;
            let cpu = fdt.begin_node(&format!("cpu@{affinity:x}"))?;
            fdt.property_string("device_type", "cpu")?;
            fdt.property_string("compatible", "arm,armv8")?;
            fdt.property_string("enable-method", "psci")?;
            fdt.property_u64("reg", affinity)?;
            fdt.end_node(cpu)?;
        }
        fdt.end_node(cpus)
    }

    fn interrupt_controller(&self, fdt: &mut FdtWriter) -> Result<(), Error> {
        let gic = fdt.begin_node(&format!("interrupt-controller@{GIC_DISTRIBUTOR_BASE:x}"))?;
        let cpus = self.cpus.len() as u64;
        fdt.property_string("compatible", "arm,gic-v3")?;
        fdt.property_null("interrupt-controller")?;
        fdt.property_u32("#interrupt-cells", 3)?;
        fdt.property_phandle(GIC)?;
        fdt.property_array_u64(
            "reg",
            &[
                GIC_DISTRIBUTOR_BASE,
                GIC_DISTRIBUTOR_SIZE,
                gic_redistributors(cpus),
                cpus * GIC_REDISTRIBUTOR_SIZE,
            ],
        )?;
        fdt.property_array_u32("interrupts", &[PPI, MAINTENANCE_PPI, LEVEL_HIGH])?;
        fdt.end_node(gic)
    }
}

fn psci(fdt: &mut FdtWriter) -> Result<(), Error> {
    let psci = fdt.begin_node("psci")?;
    fdt.property_string_list(
        "compatible",
        vec!["arm,psci-1.0".to_owned(), "arm,psci-0.2".to_owned()],
    )?;
    fdt.property_string("method", "hvc")?;
    fdt.end_node(psci)
}

fn timer(fdt: &mut FdtWriter) -> Result<(), Error> {
    let timer = fdt.begin_node("timer")?;
    fdt.property_string("compatible", "arm,armv8-timer")?;
    fdt.property_null("always-on")?;
    let interrupts: Vec<u32> = TIMER_PPIS
        .iter()
        .flat_map(|ppi| [PPI, *ppi, LEVEL_HIGH])
        .collect();
    fdt.property_array_u32("interrupts", &interrupts)?;
    fdt.end_node(timer)
}

fn serial(fdt: &mut FdtWriter, base: u64, spi: u32) -> Result<(), Error> {
    let serial = fdt.begin_node(&format!("serial@{base:x}"))?;
    fdt.property_string("compatible", "ns16550a")?;
    fdt.property_array_u64("reg", &[base, SERIAL_SIZE])?;
    fdt.property_u32("clock-frequency", SERIAL_CLOCK)?;
    fdt.property_array_u32("interrupts", &[SPI, spi, EDGE_RISING])?;
    fdt.end_node(serial)
}
